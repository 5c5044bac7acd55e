package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"testing"
)

const (
	key    = `s3cr3t/"key"+ü&<1>`
	number = "4711081599"
)

func loaded() *Set {
	s := &Set{}
	s.Add(key, "short", number, "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0\n-----END KEY-----\n")
	return s
}

// TestEveryFormIsMasked checks the forms in which a secret is transmitted.
func TestEveryFormIsMasked(t *testing.T) {
	s := loaded()
	quoted, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"plain": key, "json": string(quoted[1 : len(quoted)-1]), "json without HTML": `s3cr3t/\"key\"+ü&<1>`, "path": url.PathEscape(key), "query": url.QueryEscape(key),
		"all": encodeAll(key), "lower case": lowerHex(url.QueryEscape(key)), "line": "MIIEvQIBADANBgkqhkiG9w0", "twice": key + key,
	} {
		want := "before " + Text + " after"
		if name == "twice" {
			want = "before " + Text + Text + " after"
		}
		if got := s.String("before " + text + " after"); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	for _, user := range []string{"", "u", "us", "use", "user"} {
		for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			text := encoding.EncodeToString([]byte(user + ":" + key + "tail"))
			masked := s.String(text)
			if !strings.Contains(masked, Text) || len(masked) > len(Text)+16 {
				t.Errorf("%s of %q: got %q, want it masked", text, user, masked)
			}
		}
	}
}

func TestOtherTextIsKept(t *testing.T) {
	s := loaded()
	for _, text := range []string{"", "short", "a short word", key[1:], key[:len(key)-1], "-----BEGIN KEY-----", strings.Repeat("x", 100)} {
		if got := s.String(text); got != text {
			t.Errorf("%q: got %q, want it unchanged", text, got)
		}
	}
	for _, none := range []*Set{nil, {}} {
		if got := none.String(key); got != key {
			t.Errorf("without secrets: got %q, want %q", got, key)
		}
		if got := none.JSON([]byte(key)); string(got) != key {
			t.Errorf("without secrets: got %q, want %q", got, key)
		}
	}
}

// TestMaskedJSONIsValid checks that masked JSON is still parsable.
func TestMaskedJSONIsValid(t *testing.T) {
	s := loaded()
	quoted, err := json.Marshal(map[string]any{"a": key, "n": json.Number("1" + number + ".5"), "list": []any{json.Number(number), true, "x" + key, "\\"}, key: 1})
	if err != nil {
		t.Fatal(err)
	}
	got := s.JSON(quoted)
	if want := `{"a":"[secret]","list":["[secret]",true,"x[secret]","\\"],"n":"[secret]","[secret]":1}`; string(got) != want || !json.Valid(got) {
		t.Errorf("got %s, want %s", got, want)
	}
	if bytes.Equal(quoted, got) {
		t.Error("the input was changed")
	}
}

func TestLogsAreMasked(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(Handler(slog.NewTextHandler(&b, nil), loaded()))
	log.With("with", key).WithGroup("g").Error("message "+number, "text", number, "error", errors.New("at "+number), "bytes", []byte(number), slog.Group("in", "x", number), "n", 5)
	if got := b.String(); strings.Contains(got, number) || strings.Contains(got, "s3cr3t") || strings.Count(got, Text) != 6 || !strings.Contains(got, "g.n=5") {
		t.Errorf("got %s, want every secret masked", got)
	}
}

func BenchmarkNothingToMask(b *testing.B) {
	s, text := loaded(), []byte(strings.Repeat(`{"id":4711,"name":"ordinary text"},`, 30))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		s.JSON(text)
	}
}
