package authn

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func build(t testing.TB, scheme string, settings map[string]any) Authenticator {
	t.Helper()
	a, err := New(scheme, settings, nil)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func request(target string, headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, target, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func TestSharedSecrets(t *testing.T) {
	type m = map[string]any
	for _, c := range []struct {
		name, scheme string
		settings     m
		r            *http.Request
		who          string // "" is denied; "*" is anybody
	}{
		{"none", "none", nil, request("/"), "*"},
		{"key in header", "api_key", m{"header": "X-Key", "key": "k1"}, request("/", "x-key", "k1"), "key-261ee8d0bdc6d1a2"},
		{"second of a list", "api_key", m{"header": "X-Key", "key": []any{"k2", "k1"}}, request("/", "X-Key", "k1"), "key-261ee8d0bdc6d1a2"},
		{"wrong key", "api_key", m{"header": "X-Key", "key": "k1"}, request("/", "X-Key", "k2"), ""},
		{"beginning of the key", "api_key", m{"header": "X-Key", "key": "k1"}, request("/", "X-Key", "k"), ""},
		{"no key", "api_key", m{"header": "X-Key", "key": "k1"}, request("/"), ""},
		{"empty key", "api_key", m{"header": "X-Key", "key": "k1"}, request("/", "X-Key", ""), ""},
		{"two keys", "api_key", m{"header": "X-Key", "key": "k1"}, request("/", "X-Key", "k1", "X-Key", "k1"), ""},
		{"key in the query, not the header", "api_key", m{"header": "X-Key", "key": "k1"}, request("/?X-Key=k1"), ""},
		{"key in query", "api_key", m{"query": "key", "key": "k1"}, request("/?key=k1&x=y"), "key-261ee8d0bdc6d1a2"},
		{"wrong key in query", "api_key", m{"query": "key", "key": "k1"}, request("/?key=k2"), ""},
		{"two keys in query", "api_key", m{"query": "key", "key": "k1"}, request("/?key=k1&key=k1"), ""},
		{"basic", "basic", m{"user": "shop", "password": "pw"}, request("/", "Authorization", "Basic c2hvcDpwdw=="), "shop"},
		{"basic, rotated", "basic", m{"user": "shop", "password": []any{"new", "pw"}}, request("/", "Authorization", "basic c2hvcDpwdw=="), "shop"},
		{"basic, wrong password", "basic", m{"user": "shop", "password": "px"}, request("/", "Authorization", "Basic c2hvcDpwdw=="), ""},
		{"basic, wrong user", "basic", m{"user": "shep", "password": "pw"}, request("/", "Authorization", "Basic c2hvcDpwdw=="), ""},
		{"basic, not base64", "basic", m{"user": "shop", "password": "pw"}, request("/", "Authorization", "Basic ???"), ""},
		{"basic, none", "basic", m{"user": "shop", "password": "pw"}, request("/"), ""},
		{"bearer", "bearer", m{"token": "t0"}, request("/", "Authorization", "Bearer t0"), "token-"},
		{"bearer in small letters", "bearer", m{"token": "t0"}, request("/", "Authorization", "bearer t0"), "token-"},
		{"bearer, wrong", "bearer", m{"token": "t0"}, request("/", "Authorization", "Bearer t1"), ""},
		{"bearer, another scheme", "bearer", m{"token": "t0"}, request("/", "Authorization", "Basic t0"), ""},
		{"bearer, no token", "bearer", m{"token": "t0"}, request("/", "Authorization", "Bearer "), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			who, err := build(t, c.scheme, c.settings).Authenticate(c.r, nil)
			switch c.who {
			case "*":
				if who != "" || err != nil {
					t.Errorf("got %q, %v, want no name and no error", who, err)
				}
			case "":
				if err != ErrDenied || who != "" {
					t.Errorf("got %q, %v, want ErrDenied itself", who, err)
				}
			default:
				if err != nil || !strings.HasPrefix(who, c.who) {
					t.Errorf("got %q, %v, want %q", who, err, c.who)
				}
			}
		})
	}
}

func TestPrincipalsTellSecretsApart(t *testing.T) {
	a := build(t, "api_key", map[string]any{"header": "X-Key", "key": []any{"first", "second"}})
	one, _ := a.Authenticate(request("/", "X-Key", "first"), nil)
	two, _ := a.Authenticate(request("/", "X-Key", "second"), nil)
	if one == two || one == "" || two == "" {
		t.Errorf("got names %q and %q, want different ones", one, two)
	}
	alone := build(t, "api_key", map[string]any{"header": "X-Key", "key": "second"})
	if again, _ := alone.Authenticate(request("/", "X-Key", "second"), nil); again != two {
		t.Errorf("name after the first key was removed: got %q, want %q", again, two)
	}
}

func TestConsumes(t *testing.T) {
	for _, c := range []struct {
		scheme   string
		settings map[string]any
		header   string
		query    string
		body     bool
	}{
		{"api_key", map[string]any{"header": "x-key", "key": "k"}, "X-Key", "", false},
		{"api_key", map[string]any{"query": "key", "key": "k"}, "", "key", false},
		{"bearer", map[string]any{"token": "k"}, "Authorization", "", false},
		{"hmac", map[string]any{"preset": "github", "secret": "k"}, "X-Hub-Signature-256", "", true},
		{"hmac", map[string]any{"header": "x-sig", "secret": "k"}, "X-Sig", "", true},
	} {
		a := build(t, c.scheme, c.settings)
		if got := strings.Join(a.Consumes(), ","); got != c.header {
			t.Errorf("%s consumes %q, want %q", c.scheme, got, c.header)
		}
		query := ""
		if q, ok := a.(QueryConsumer); ok {
			query = q.ConsumesQuery()
		}
		if query != c.query || a.NeedsBody() != c.body {
			t.Errorf("%s: got query %q, body %v, want %q, %v", c.scheme, query, a.NeedsBody(), c.query, c.body)
		}
	}
}

func TestSettings(t *testing.T) {
	type m = map[string]any
	long := strings.Repeat("s", 32)
	for _, c := range []struct {
		name, scheme string
		settings     m
		want         string
	}{
		{"unknown scheme", "apikey", nil, `unknown auth scheme "apikey": use none, api_key, basic, bearer, jwt, hmac, mtls or wss`},
		{"unknown setting", "none", m{"key": "x"}, "auth scheme none: key: is not a setting of this scheme"},
		{"all at once", "api_key", m{"heder": "X"}, "auth scheme api_key: header: set exactly one of header and query; heder: is not a setting of this scheme; key: is missing"},
		{"both places", "api_key", m{"header": "X", "query": "x", "key": "k"}, "auth scheme api_key: header: set exactly one of header and query"},
		{"empty key", "api_key", m{"header": "X", "key": ""}, "auth scheme api_key: key: is empty"},
		{"empty list", "api_key", m{"header": "X", "key": []any{}}, "auth scheme api_key: key: is an empty list"},
		{"a list with a hole", "api_key", m{"header": "X", "key": []any{"a", nil}}, "auth scheme api_key: key: element 2 must be a non-empty string"},
		{"a number", "bearer", m{"token": 7}, "auth scheme bearer: token: must be a string or a list of strings"},
		{"header name", "api_key", m{"header": "X Key", "key": "k"}, "auth scheme api_key: header: is not a valid header name"},
		{"colon", "basic", m{"user": "a:b", "password": "p"}, "auth scheme basic: user: must not contain a colon"},
		{"preset", "hmac", m{"preset": "gitlab", "secret": "s"}, "auth scheme hmac: preset: must be one of standard-webhooks, github, stripe, shopify"},
		{"preset and header", "hmac", m{"preset": "github", "header": "X", "secret": "s"}, "auth scheme hmac: header: conflicts with preset; set only one of them"},
		{"no form", "hmac", m{"secret": "s"}, "auth scheme hmac: header: set header or preset (standard-webhooks, github, stripe, shopify)"},
		{"tolerance without time", "hmac", m{"preset": "github", "secret": "s", "tolerance": "5m"}, "auth scheme hmac: tolerance: has no effect, because the signature covers no time"},
		{"age of a token", "wss", m{"user": "u", "password": "p", "timestamp": "61m"}, "auth scheme wss: timestamp: must be a duration of at most 1h, such as 5m"},
		{"tolerance", "hmac", m{"preset": "stripe", "secret": "s", "tolerance": "5"}, "auth scheme hmac: tolerance: must be a duration of at most 24h, such as 5m"},
		{"standard-webhooks secret", "hmac", m{"preset": "standard-webhooks", "secret": "???"}, "auth scheme hmac: secret: value 1 is not Base64; the sender shows it in the form whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
		{"algorithm", "hmac", m{"header": "X", "secret": "s", "algorithm": "md5"}, "auth scheme hmac: algorithm: must be one of sha1, sha256, sha384, sha512"},
		{"no key", "jwt", m{"issuer": "i"}, "auth scheme jwt: jwks: set exactly one of jwks and key"},
		{"jwks over http", "jwt", m{"jwks": "http://id.example/keys"}, "auth scheme jwt: jwks: must be an https URL (http is allowed for this machine only)"},
		{"short secret", "jwt", m{"key": "short"}, "auth scheme jwt: key: number 1 must be PEM or a secret of at least 32 bytes"},
		{"bad PEM", "jwt", m{"key": "-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n"}, "auth scheme jwt: key: number 1 is not a valid public key"},
		{"private key", "jwt", m{"key": "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"}, `auth scheme jwt: key: number 1 is a PEM block "PRIVATE KEY"; use a public key or a certificate`},
		{"claims", "jwt", m{"key": long, "claims": "x"}, "auth scheme jwt: claims: must be a map"},
		{"claim", "jwt", m{"key": long, "claims": m{"a": m{}}}, "auth scheme jwt: claims: a must be a string, a number, true or false, or a list of them"},
		{"ca", "mtls", m{"ca": "/etc/ca.pem"}, "auth scheme mtls: ca: must contain PEM certificates, such as ${env.PARTNER_CA}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := New(c.scheme, c.settings, nil)
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
			if errors.Is(err, ErrDenied) {
				t.Errorf("got %v, want an error other than ErrDenied", err)
			}
		})
	}
}
