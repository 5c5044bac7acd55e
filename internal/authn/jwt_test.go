package authn

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const shared = "a shared secret of 32 bytes, ok?"

type pair struct {
	private crypto.Signer
	pem     string
}

func newPair(t testing.TB, private crypto.Signer) pair {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pair{private, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}
}

func rsaPair(t testing.TB) pair {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return newPair(t, k)
}

func sign(t testing.TB, m jwt.SigningMethod, key any, kid string, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(m, claims)
	if kid != "" {
		token.Header["kid"] = kid
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func in(d time.Duration) int64 { return time.Now().Add(d).Unix() }

func TestJWTClaims(t *testing.T) {
	type m = map[string]any
	good := func(change ...any) jwt.MapClaims {
		c := jwt.MapClaims{"sub": "alice", "iss": "https://id.example", "aud": []string{"orders", "x"}, "exp": in(time.Minute), "scope": "read write",
			"roles": []string{"clerk"}, "tenant": 7, "vip": true}
		for i := 0; i < len(change); i += 2 {
			if change[i+1] == nil {
				delete(c, change[i].(string))
			} else {
				c[change[i].(string)] = change[i+1]
			}
		}
		return c
	}
	all := m{"key": shared, "issuer": "https://id.example", "audience": "orders", "claims": m{
		"scope": "write", "roles": []any{"admin", "clerk"}, "tenant": json.Number("7"), "vip": true}}
	for _, c := range []struct {
		name     string
		settings m
		claims   jwt.MapClaims
		who      string
	}{
		{"everything", all, good(), "alice"},
		{"no checks beside the signature", m{"key": shared}, good("iss", nil, "aud", nil), "alice"},
		{"one of several audiences", m{"key": shared, "audience": []any{"other", "x"}}, good(), "alice"},
		{"another audience", m{"key": shared, "audience": "shop"}, good(), ""},
		{"no audience", m{"key": shared, "audience": "shop"}, good("aud", nil), ""},
		{"another issuer", all, good("iss", "https://id.example/"), ""},
		{"no issuer", all, good("iss", nil), ""},
		{"expired", all, good("exp", in(-time.Minute)), ""},
		{"expired within the leeway", all, good("exp", in(-20*time.Second)), "alice"},
		{"expired, no leeway", m{"key": shared, "leeway": "0s"}, good("exp", in(-20*time.Second)), ""},
		{"never expires", all, good("exp", nil), ""},
		{"not yet", all, good("nbf", in(time.Minute)), ""},
		{"made in the future", all, good("iat", in(time.Hour)), ""},
		{"scope is a word, not a part", all, good("scope", "rewrite"), ""},
		{"role", all, good("roles", []string{"guest"}), ""},
		{"number", all, good("tenant", 70), ""},
		{"boolean", all, good("vip", false), ""},
		{"claim missing", all, good("vip", nil), ""},
		{"claim is an object", all, good("vip", m{"x": 1}), ""},
		{"client", m{"key": shared}, good("sub", nil, "client_id", "batch"), "batch"},
		{"nobody", m{"key": shared}, good("sub", nil), ""},
		{"sub is no text", m{"key": shared}, good("sub", 7), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := sign(t, jwt.SigningMethodHS256, []byte(shared), "", c.claims)
			who, err := build(t, "jwt", c.settings).Authenticate(request("/", "Authorization", "Bearer "+text), nil)
			if who != c.who || (err == nil) != (c.who != "") || err != nil && err != ErrDenied {
				t.Errorf("got %q, %v, want %q", who, err, c.who)
			}
		})
	}
}

func TestJWTAlgorithms(t *testing.T) {
	claims := jwt.MapClaims{"sub": "alice", "exp": in(time.Minute)}
	one, two := rsaPair(t), rsaPair(t)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec := newPair(t, ecKey)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed := newPair(t, edKey)
	good := sign(t, jwt.SigningMethodRS256, one.private, "", claims)
	parts := strings.Split(good, ".")
	header := func(h string) string { return base64.RawURLEncoding.EncodeToString([]byte(h)) }
	critical := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	critical.Header["crit"] = []string{"b64"}
	criticalText, _ := critical.SignedString(one.private)
	for _, c := range []struct {
		name  string
		key   any
		token string
		ok    bool
	}{
		{"RS256", one.pem, good, true},
		{"PS512", one.pem, sign(t, jwt.SigningMethodPS512, one.private, "", claims), true},
		{"ES256", ec.pem, sign(t, jwt.SigningMethodES256, ec.private, "", claims), true},
		{"EdDSA", ed.pem, sign(t, jwt.SigningMethodEdDSA, ed.private, "", claims), true},
		{"HS384", shared, sign(t, jwt.SigningMethodHS384, []byte(shared), "", claims), true},
		{"rotated keys", []any{two.pem, ec.pem, one.pem}, good, true},
		{"rotated secrets", []any{strings.Repeat("x", 32), shared}, sign(t, jwt.SigningMethodHS256, []byte(shared), "", claims), true},
		{"another key", two.pem, good, false},
		{"a key of another kind", ec.pem, good, false},
		{"none", one.pem, sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "", claims), false},
		{"none in capitals", one.pem, header(`{"alg":"NONE","typ":"JWT"}`) + "." + parts[1] + ".", false},
		{"none with a secret", shared, sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "", claims), false},
		{"public key taken for a secret", one.pem, sign(t, jwt.SigningMethodHS256, []byte(one.pem), "", claims), false},
		{"signature left out", one.pem, parts[0] + "." + parts[1] + ".", false},
		{"payload changed", one.pem, parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"bob","exp":9999999999}`)) + "." + parts[2], false},
		{"key in the token", one.pem, header(`{"alg":"RS256","jwk":{"kty":"RSA"},"jku":"http://127.0.0.1:1/"}`) + "." + parts[1] + "." + parts[2], false},
		{"critical header", one.pem, criticalText, false},
		{"two parts", one.pem, parts[0] + "." + parts[1], false},
		{"garbage", one.pem, "x.y.z", false},
		{"too long", one.pem, good + strings.Repeat("A", maxToken), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			who, err := build(t, "jwt", map[string]any{"key": c.key}).Authenticate(request("/", "Authorization", "Bearer "+c.token), nil)
			if c.ok && (err != nil || who != "alice") || !c.ok && err != ErrDenied {
				t.Errorf("got %q, %v, want accepted = %v", who, err, c.ok)
			}
		})
	}
}

func TestJWTKeysOfTwoKinds(t *testing.T) {
	_, err := New("jwt", map[string]any{"key": []any{rsaPair(t).pem, shared}}, nil)
	if err == nil || err.Error() != "auth scheme jwt: key: contains shared secrets and public keys; use one kind" {
		t.Errorf("got %v, want mixed kinds of keys reported", err)
	}
}

// issuer serves a key set without a network.
type issuer struct {
	fetches atomic.Int32
	answer  atomic.Pointer[func(*http.Request) (*http.Response, error)]
}

func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	i.fetches.Add(1)
	return (*i.answer.Load())(r)
}

func (i *issuer) gives(status int, body string) {
	f := func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
	}
	i.answer.Store(&f)
}

func (i *issuer) fails() {
	f := func(*http.Request) (*http.Response, error) { return nil, errors.New("no route") }
	i.answer.Store(&f)
}

func jwks(keys map[string]pair) string {
	var list []string
	for kid, p := range keys {
		k := p.private.Public().(*rsa.PublicKey)
		e := base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.E)).Bytes())
		n := base64.RawURLEncoding.EncodeToString(k.N.Bytes())
		list = append(list, fmt.Sprintf(`{"kty":"RSA","use":"sig","alg":"RS256","kid":%q,"n":%q,"e":%q}`, kid, n, e))
	}
	return `{"keys":[` + strings.Join(list, ",") + `]}`
}

func TestKeySet(t *testing.T) {
	one, two := rsaPair(t), rsaPair(t)
	synctest.Test(t, func(t *testing.T) {
		id := &issuer{}
		a := build(t, "jwt", map[string]any{"jwks": "https://id.example/keys"})
		a.(*token).keys.(*keySet).client.Transport = id
		expect := func(what string, ok bool, fetches int32, p pair, kid string) {
			t.Helper()
			text := sign(t, jwt.SigningMethodRS256, p.private, kid, jwt.MapClaims{"sub": "alice", "exp": in(time.Minute)})
			who, err := a.Authenticate(request("/", "Authorization", "Bearer "+text), nil)
			if ok != (err == nil && who == "alice") || err != nil && err != ErrDenied {
				t.Errorf("%s: got %q, %v, want accepted = %v", what, who, err, ok)
			}
			if got := id.fetches.Load(); got != fetches {
				t.Errorf("%s: %d fetches so far, want %d", what, got, fetches)
			}
		}
		pass := func(d time.Duration) { <-time.After(d) }

		id.fails()
		expect("issuer down", false, 1, one, "1")
		expect("asked again at once", false, 1, one, "1")
		pass(keySetFailed)
		id.gives(200, jwks(map[string]pair{"1": one}))
		expect("issuer up", true, 2, one, "1")
		expect("kept", true, 2, one, "1")
		expect("without a name", true, 2, one, "")
		expect("a key of another issuer under a known name", false, 2, two, "1")
		expect("unknown key, just fetched", false, 2, two, "2")
		pass(keySetUnknown)
		id.gives(200, jwks(map[string]pair{"1": one, "2": two}))
		expect("rotated", true, 3, two, "2")
		expect("unknown keys do not cause fetches at will", false, 3, two, "3")
		pass(keySetFresh)
		id.fails()
		expect("issuer down later", true, 4, one, "1")
		pass(keySetFailed)
		id.gives(500, "")
		expect("issuer broken later", true, 5, one, "1")
		pass(keySetFailed)
		id.gives(200, `{"keys":`)
		expect("issuer garbled later", true, 6, one, "1")
		pass(keySetFailed)
		id.gives(200, `{"keys":[], "x":"`+strings.Repeat("x", keySetSize)+`"}`)
		expect("endless key set", true, 7, one, "1")
		pass(keySetFailed)
		id.gives(200, jwks(map[string]pair{"2": two}))
		expect("a key that was taken back", false, 8, one, "1")
	})
}

// A key set must not turn shared secrets, or the text of its RSA keys, into
// signing keys.
func TestKeySetHoldsNoSecrets(t *testing.T) {
	id := &issuer{}
	id.gives(200, `{"keys":[{"kty":"oct","kid":"1","alg":"HS256","k":"`+base64.RawURLEncoding.EncodeToString([]byte(shared))+`"}]}`)
	a := build(t, "jwt", map[string]any{"jwks": "https://id.example/keys"})
	a.(*token).keys.(*keySet).client.Transport = id
	text := sign(t, jwt.SigningMethodHS256, []byte(shared), "1", jwt.MapClaims{"sub": "alice", "exp": in(time.Minute)})
	if _, err := a.Authenticate(request("/", "Authorization", "Bearer "+text), nil); err != ErrDenied {
		t.Errorf("got %v, want %v", err, ErrDenied)
	}
}

func TestKeySetFetchIsBounded(t *testing.T) {
	one := rsaPair(t)
	synctest.Test(t, func(t *testing.T) {
		id := &issuer{}
		hang := func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		id.answer.Store(&hang)
		a := build(t, "jwt", map[string]any{"jwks": "https://id.example/keys"})
		a.(*token).keys.(*keySet).client.Transport = id
		start := time.Now()
		refused := sign(t, jwt.SigningMethodHS256, []byte(shared), "", jwt.MapClaims{"sub": "a"})
		_, err := a.Authenticate(request("/", "Authorization", "Bearer "+refused), nil)
		if err != ErrDenied || id.fetches.Load() != 0 {
			t.Errorf("rejected algorithm: got %v, %d fetches, want %v, 0", err, id.fetches.Load(), ErrDenied)
		}
		text := sign(t, jwt.SigningMethodRS256, one.private, "1", jwt.MapClaims{"sub": "alice", "exp": in(time.Hour)})
		_, err = a.Authenticate(request("/", "Authorization", "Bearer "+text), nil)
		if took := time.Since(start); err != ErrDenied || took != keySetTimeout {
			t.Errorf("silent issuer: got %v after %v, want %v after %v", err, took, ErrDenied, keySetTimeout)
		}
	})
}

func TestKeySetRedirects(t *testing.T) {
	a := build(t, "jwt", map[string]any{"jwks": "https://id.example/keys"})
	client := a.(*token).keys.(*keySet).client
	id := &issuer{}
	f := func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 302, Header: http.Header{"Location": {"http://169.254.169.254/"}}, Body: http.NoBody}, nil
	}
	id.answer.Store(&f)
	client.Transport = id
	resp, err := client.Get("https://id.example/keys")
	if err == nil {
		resp.Body.Close()
		t.Error("redirect to http: got it followed, want an error")
	}
	if got := id.fetches.Load(); got != 1 {
		t.Errorf("requests: got %d, want 1", got)
	}
}
