package authn

import (
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"valence/internal/convert"
)

var wssNow = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func wssOf(t *testing.T, kind string) *wss {
	t.Helper()
	a, err := New("wss", map[string]any{"user": "erp", "password": []any{"new", "old"}, "type": kind}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := a.(*wss)
	w.now = func() time.Time { return wssNow }
	return w
}

func security(t *testing.T, content string) *convert.Element {
	t.Helper()
	root, err := convert.XMLTree(t.Context(), []byte(`<w:Security xmlns:w="`+wsse+`" xmlns:u="`+wsu+`">`+content+`</w:Security>`))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func textToken(user, password string) string {
	return "<w:UsernameToken><w:Username>" + user + `</w:Username><w:Password Type="` + passwordText + `">` + password + "</w:Password></w:UsernameToken>"
}

func digestToken(user, password, nonce string, created time.Time) string {
	at := created.Format(time.RFC3339)
	sum := sha1.Sum([]byte(nonce + at + password))
	return fmt.Sprintf(`<w:UsernameToken><w:Username>%s</w:Username><w:Password Type="%s">%s</w:Password><w:Nonce>%s</w:Nonce><u:Created>%s</u:Created></w:UsernameToken>`,
		user, passwordDigest, base64.StdEncoding.EncodeToString(sum[:]), base64.StdEncoding.EncodeToString([]byte(nonce)), at)
}

func stamp(created, expires time.Time) string {
	return "<u:Timestamp><u:Created>" + created.Format(time.RFC3339) + "</u:Created><u:Expires>" + expires.Format(time.RFC3339) + "</u:Expires></u:Timestamp>"
}

func TestUsernameToken(t *testing.T) {
	fresh := digestToken("erp", "new", "n-1", wssNow)
	for _, test := range []struct {
		name, kind, header string
		accepted           bool
	}{
		{"text", "text", textToken("erp", "new"), true},
		{"the earlier password", "text", textToken("erp", "old"), true},
		{"text without a type", "text", strings.Replace(textToken("erp", "new"), ` Type="`+passwordText+`"`, "", 1), true},
		{"a valid timestamp", "text", stamp(wssNow.Add(-time.Minute), wssNow.Add(time.Minute)) + textToken("erp", "new"), true},
		{"a digest", "digest", fresh, true},
		{"a digest at the end of its time", "digest", digestToken("erp", "old", "n", wssNow.Add(-5*time.Minute)), true},
		{"a wrong password", "text", textToken("erp", "guessed"), false},
		{"a wrong user", "text", textToken("crm", "new"), false},
		{"no password", "text", "<w:UsernameToken><w:Username>erp</w:Username></w:UsernameToken>", false},
		{"an empty password", "text", textToken("erp", ""), false},
		{"no token", "text", "", false},
		{"two tokens", "text", textToken("erp", "new") + textToken("erp", "new"), false},
		{"an old timestamp", "text", stamp(wssNow.Add(-6*time.Minute), wssNow.Add(time.Minute)) + textToken("erp", "new"), false},
		{"an expired timestamp", "text", stamp(wssNow.Add(-time.Minute), wssNow) + textToken("erp", "new"), false},
		{"two timestamps", "text", strings.Repeat(stamp(wssNow, wssNow.Add(time.Minute)), 2) + textToken("erp", "new"), false},
		{"text in place of a digest", "digest", textToken("erp", "new"), false},
		{"a digest in place of text", "text", fresh, false},
		{"a digest of a wrong password", "digest", digestToken("erp", "guessed", "n", wssNow), false},
		{"a digest of another user", "digest", digestToken("crm", "new", "n", wssNow), false},
		{"an old digest", "digest", digestToken("erp", "new", "n", wssNow.Add(-5*time.Minute-time.Second)), false},
		{"a digest of the future", "digest", digestToken("erp", "new", "n", wssNow.Add(2*time.Minute)), false},
		{"a digest without a nonce", "digest", digestToken("erp", "new", "", wssNow), false},
		{"a large nonce", "digest", digestToken("erp", "new", strings.Repeat("n", maxNonce+1), wssNow), false},
	} {
		who, err := wssOf(t, test.kind).AuthenticateToken(security(t, test.header))
		if (err == nil) != test.accepted || test.accepted && who != "erp" {
			t.Errorf("%s: got %q %v, want accepted: %v", test.name, who, err, test.accepted)
		}
	}
	if _, err := wssOf(t, "text").AuthenticateToken(nil); err != ErrDenied {
		t.Errorf("no header: got %v, want %v", err, ErrDenied)
	}
	if _, err := wssOf(t, "text").Authenticate(nil, nil); err != ErrDenied {
		t.Errorf("without an envelope: got %v, want %v", err, ErrDenied)
	}
}

// TestDigestOnce sends digests again, also to the authenticator of the next
// deployment.
func TestDigestOnce(t *testing.T) {
	a, next := wssOf(t, "digest"), wssOf(t, "digest")
	Inherit(next, a)
	token := security(t, digestToken("erp", "new", "n-1", wssNow))
	for i, test := range []struct {
		a        *wss
		token    *convert.Element
		accepted bool
	}{
		{a, token, true}, {a, token, false}, {next, token, false},
		{a, security(t, digestToken("erp", "guessed", "n-2", wssNow)), false}, // a wrong one does not use up the nonce
		{next, security(t, digestToken("erp", "new", "n-2", wssNow)), true},
	} {
		if _, err := test.a.AuthenticateToken(test.token); (err == nil) != test.accepted {
			t.Errorf("%d: got %v, want accepted: %v", i, err, test.accepted)
		}
	}
}

// TestNoncesAreBounded fills the memory for nonces. Valid digests are then refused
// until the first ones are forgotten.
func TestNoncesAreBounded(t *testing.T) {
	a := wssOf(t, "digest")
	a.nonces = newNonces(3)
	send := func(nonce string, created time.Time) error {
		_, err := a.AuthenticateToken(security(t, digestToken("erp", "new", nonce, created)))
		return err
	}
	for _, nonce := range []string{"1", "2", "3"} {
		if err := send(nonce, wssNow); err != nil {
			t.Fatalf("%s: got %v, want it accepted", nonce, err)
		}
	}
	var busy *BusyError
	if err := send("4", wssNow); !errors.As(err, &busy) || busy.RetryAfter != 7*time.Minute {
		t.Errorf("got %v, want a busy error for the 6 minutes and the rest of the last one", err)
	}
	if err := send("1", wssNow); !errors.Is(err, ErrDenied) {
		t.Errorf("a repeat: got %v, want %v", err, ErrDenied)
	}
	if _, err := a.AuthenticateToken(security(t, digestToken("erp", "guessed", "4", wssNow))); !errors.Is(err, ErrDenied) {
		t.Errorf("a wrong password: got %v, want %v", err, ErrDenied)
	}
	later := wssNow.Add(7 * time.Minute)
	a.now = func() time.Time { return later }
	if err := send("4", later); err != nil || a.nonces.count != 1 {
		t.Errorf("got %v and %d nonces after the others expired, want 1", err, a.nonces.count)
	}
}

// A nonce is remembered as long as its digest is valid, also if the clock of the
// caller is ahead.
func TestNonceOutlivesItsDigest(t *testing.T) {
	a := wssOf(t, "digest")
	token := security(t, digestToken("erp", "new", "n", wssNow.Add(time.Minute)))
	for now := wssNow; now.Before(wssNow.Add(10 * time.Minute)); now = now.Add(time.Second) {
		a.now = func() time.Time { return now }
		if _, err := a.AuthenticateToken(token); (err == nil) != now.Equal(wssNow) {
			t.Fatalf("%v later: got %v, want the digest accepted once", now.Sub(wssNow), err)
		}
	}
}
