package wire

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestSignature(t *testing.T) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	body := []byte(`{"wait":30}`)
	make := func() *http.Request {
		r := httptest.NewRequest(http.MethodPost, "https://cloud.example/atom/v1/poll?x=1", bytes.NewReader(body))
		Sign(r, body, "a1", "e1", 7, key)
		return r
	}
	if err := Verify(make(), body, pub); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*http.Request) []byte{
		"body":    func(*http.Request) []byte { return []byte(`{"wait":31}`) },
		"method":  func(r *http.Request) []byte { r.Method = http.MethodPut; return body },
		"host":    func(r *http.Request) []byte { r.Host = "other.example"; return body },
		"path":    func(r *http.Request) []byte { r.URL.Path = "/atom/v1/reports"; return body },
		"query":   func(r *http.Request) []byte { r.URL.RawQuery = "x=2"; return body },
		"atom":    func(r *http.Request) []byte { r.Header.Set(HeaderAtom, "a2"); return body },
		"epoch":   func(r *http.Request) []byte { r.Header.Set(HeaderEpoch, "e2"); return body },
		"counter": func(r *http.Request) []byte { r.Header.Set(HeaderCounter, "8"); return body },
	} {
		r := make()
		if err := Verify(r, change(r), pub); !errors.Is(err, ErrSignature) {
			t.Errorf("%s changed: got %v, want ErrSignature", name, err)
		}
	}
}

func TestWindow(t *testing.T) {
	var w Window
	for _, c := range []struct {
		n  uint64
		ok bool
	}{{0, false}, {1, true}, {1, false}, {5, true}, {3, true}, {3, false}, {2, true}, {200, true}, {136, false}, {137, true}, {137, false}, {5, false}, {201, true}, {200, false}, {199, true}} {
		if got := w.Admit(c.n) == nil; got != c.ok {
			t.Errorf("%d: taken %v", c.n, got)
		}
	}
}

func TestSeal(t *testing.T) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := Seal(key.PublicKey().Bytes(), "a1", "SHOP_KEY", "s3cret")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Open(key, "a1", "SHOP_KEY", sealed); err != nil || got != "s3cret" {
		t.Fatalf("got %q, %v, want no error, \"s3cret\"", got, err)
	}
	if _, err := Open(key, "a1", "OTHER", sealed); err == nil {
		t.Error("another name: got the secret, want an error")
	}
	if _, err := Open(key, "a2", "SHOP_KEY", sealed); err == nil {
		t.Error("another atom: got the secret, want an error")
	}
	sealed[len(sealed)-1] ^= 1
	if _, err := Open(key, "a1", "SHOP_KEY", sealed); err == nil {
		t.Error("altered: got the secret, want an error")
	}
}
