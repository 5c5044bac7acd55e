package http

import (
	"strings"
	"testing"
	"time"

	"valence/internal/document"
	"valence/internal/spec"
)

// bind decodes evaluated settings as the runtime does.
func bind(t *testing.T, json string) (*settings, error) {
	t.Helper()
	s := &settings{}
	return s, spec.Bind(settingsFields, s, deep(document.Parse(json)).(spec.Obj))
}

func deep(v any) any {
	switch v := document.Decode(v).(type) {
	case *document.Object:
		for i := range v.Len() {
			k, e := v.At(i)
			v.Set(k, deep(e))
		}
		return v
	case []any:
		for i := range v {
			v[i] = deep(v[i])
		}
		return v
	default:
		return v
	}
}

func TestSettings(t *testing.T) {
	s, err := bind(t, `{"url":"https://x","headers":{"A":"1"},"auth":{"scheme":"oauth2","token_url":"https://t","client_id":"c","client_secret":"s","scopes":["a","b"]},`+
		`"redirects":{"max":2,"sends":true},"max_response":"1MiB","idle_timeout":"5s"}`)
	if err != nil {
		t.Fatal(err)
	}
	if s.URL != "https://x" || len(s.Headers) != 1 || s.Auth.ClientAuth != "basic" || len(s.Auth.Scopes) != 2 || s.Redirects.Max != 2 ||
		!s.Redirects.Sends || s.MaxResponse != 1<<20 || s.IdleTimeout != 5*time.Second {
		t.Errorf("got %+v, want the settings as written", s)
	}
	s, err = bind(t, `{"url":"https://x"}`)
	if err != nil || s.Auth.Scheme != "" || s.Redirects.Max != 5 || s.Redirects.Sends || s.MaxResponse != 10<<20 || s.IdleTimeout != time.Minute {
		t.Errorf("got %+v %v, want the defaults", s, err)
	}
	for _, bad := range []string{`{}`, `{"url":"https://x","auth":{}}`, `{"url":"https://x","auth":{"scheme":"ntlm"}}`, `{"url":"https://x","max_response":0}`,
		`{"url":"https://x","redirects":{"max":-1}}`, `{"url":"https://x","redirects":{"max":21}}`, `{"url":"https://x","insecure":true}`} {
		if _, err := bind(t, bad); err == nil {
			t.Errorf("%s: got nil, want an error", bad)
		}
	}
}

func TestCheck(t *testing.T) {
	tests := []struct{ json, want string }{
		{`{"url":"https://x"}`, ""},
		{`{"url":"${env.URL}","auth":{"scheme":"basic","user":"${secret.U}","password":"${secret.P}"}}`, ""},
		{`{"url":"https://x","auth":{"scheme":"none"}}`, ""},
		{`{"url":"https://x","auth":{"scheme":"api_key","query":"k","key":"v"}}`, ""},
		{`{"url":"x"}`, "url must start with http:// or https://"},
		{`{"url":"https://x","auth":{"scheme":"basic"}}`, "auth: scheme basic needs user"},
		{`{"url":"https://x","auth":{"scheme":"basic","user":"a:b"}}`, "auth: user contains a colon, which basic authentication does not allow"},
		{`{"url":"https://x","auth":{"scheme":"bearer","token":""}}`, "auth: scheme bearer needs token"},
		{`{"url":"https://x","auth":{"scheme":"bearer","token":"t","user":"u"}}`, "auth: scheme bearer does not use user"},
		{`{"url":"https://x","auth":{"scheme":"none","token":"t"}}`, "auth: scheme none does not use token"},
		{`{"url":"https://x","auth":{"scheme":"api_key","key":"v"}}`, "auth: scheme api_key needs exactly one of header and query"},
		{`{"url":"https://x","auth":{"scheme":"api_key","header":"h","query":"q","key":"v"}}`, "auth: scheme api_key needs exactly one of header and query"},
		{`{"url":"https://x","auth":{"scheme":"api_key","header":"Host","key":"v"}}`, "auth: header Host is set by the connector and cannot be overridden"},
		{`{"url":"https://x","auth":{"scheme":"oauth2","token_url":"t","client_id":"c","client_secret":"s"}}`, "auth: token_url must start with http:// or https://"},
		{`{"url":"https://x","auth":{"scheme":"oauth2","token_url":"https://t"}}`, "auth: scheme oauth2 needs client_id; auth: scheme oauth2 needs client_secret"},
		{`{"url":"https://x","tls":{"key":"k"}}`, "tls: cert and key must be set together"},
		{`{"url":"https://x","headers":{"a b":"c"}}`, `headers: header name "a b" contains an invalid character`},
		{`{"url":"https://x","headers":{"authorization":"c"},"auth":{"scheme":"bearer","token":"t"}}`,
			"headers: Authorization is not allowed with auth"},
	}
	for _, test := range tests {
		s, err := bind(t, test.json)
		if err != nil {
			t.Errorf("%s: got %v, want nil", test.json, err)
			continue
		}
		if got := strings.Join(check(s), "; "); got != test.want {
			t.Errorf("%s: %q, want %q", test.json, got, test.want)
		}
		if _, err := open(s, "1", nil, nil); test.want != "" && (err == nil || err.Error() != test.want) {
			t.Errorf("%s: open: got %v, want %s", test.json, err, test.want)
		}
	}
}

// TestSecretsInHeaders checks that the value of a secret cannot break out of
// its header.
func TestSecretsInHeaders(t *testing.T) {
	for _, json := range []string{
		`{"url":"https://x","headers":{"A":"b\r\nX: y"}}`,
		`{"url":"https://x","auth":{"scheme":"bearer","token":"b\nX: y"}}`,
		`{"url":"https://x","auth":{"scheme":"api_key","header":"K","key":"b\nX: y"}}`,
	} {
		s, err := bind(t, json)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := open(s, "1", nil, nil); err == nil || !strings.Contains(err.Error(), "contains a control character") || strings.Contains(err.Error(), "X: y") {
			t.Errorf("%s: got %v, want a control character reported without the value", json, err)
		}
	}
}

func TestAuth(t *testing.T) {
	url := serve(t, echo)
	tests := []struct {
		auth authSettings
		want string
	}{
		{authSettings{}, "GET /a auth= own="},
		{authSettings{Scheme: schemeNone}, "GET /a auth= own="},
		{authSettings{Scheme: schemeBasic, User: "u", Password: "p:ä"}, "GET /a auth=Basic dTpwOsOk own="},
		{authSettings{Scheme: schemeBearer, Token: "t"}, "GET /a auth=Bearer t own="},
		{authSettings{Scheme: schemeAPIKey, Header: "x-own", Key: "k"}, "GET /a auth= own=k"},
		{authSettings{Scheme: schemeAPIKey, Query: "key", Key: "k &"}, "GET /a?key=k+%26 auth= own="},
	}
	for _, test := range tests {
		s := defaults(url)
		s.Auth = test.auth
		c := connect(t, s)
		r, err := c.do(t.Context(), call("get", &with{Path: "/a"}, nil))
		if err != nil || !strings.HasPrefix(r.Doc.Value().(string), test.want+" key=") {
			t.Errorf("%v: got %v %v, want %s", test.auth, r, err, test.want)
		}
	}
	// A call cannot replace the credentials of auth.
	for _, w := range []*with{{Headers: kvs("AUTHORIZATION", "x")}, {Query: kvs("key", "x")}} {
		s := defaults(url)
		s.Auth = authSettings{Scheme: schemeBearer, Token: "t"}
		if w.Query != nil {
			s.Auth = authSettings{Scheme: schemeAPIKey, Query: "key", Key: "k"}
		}
		_, err := connect(t, s).do(t.Context(), call("get", w, nil))
		if f := failure(t, err); f.Code != codeCall || !strings.Contains(f.Message, "conflicts with the connection's auth") {
			t.Errorf("got %+v, want %s", f, codeCall)
		}
	}
	// A key in the query must not appear in a failure.
	s := defaults("http://127.0.0.1:1")
	s.Auth = authSettings{Scheme: schemeAPIKey, Query: "key", Key: "hush"}
	_, err := connect(t, s).do(t.Context(), call("get", &with{}, nil))
	if f := failure(t, err); strings.Contains(f.Error(), "hush") {
		t.Errorf("got %v, want no key in it", f)
	}
}
