package http

import (
	"strings"
	"time"

	"valence/internal/spec"
)

// settings is a connection, decoded.
type settings struct {
	URL         string
	Headers     []spec.KV
	Auth        authSettings
	TLS         tlsSettings
	Redirects   redirectSettings
	MaxResponse int64
	IdleTimeout time.Duration
}

type redirectSettings struct {
	Max   int
	Sends bool
}

type tlsSettings struct{ CA, Cert, Key, ServerName string }

// authSettings proves to the other system who we are. Scheme decides which of
// the others have a meaning; check refuses the rest.
type authSettings struct {
	Scheme         string
	User, Password string
	Token          string
	Header, Query  string
	Key            string
	TokenURL       string
	ClientID       string
	ClientSecret   string
	ClientAuth     string
	Scopes         []string
	Audience       string
	Params         []spec.KV
}

const (
	schemeNone   = "none"
	schemeBasic  = "basic"
	schemeBearer = "bearer"
	schemeAPIKey = "api_key"
	schemeOAuth2 = "oauth2"
)

var settingsFields = []spec.Field{
	spec.String("url", func(s *settings) *string { return &s.URL },
		"Where the system is: scheme, host and the path that every call is below. A query here is sent with every call.").Required(),
	spec.StringMap("headers", func(s *settings) *[]spec.KV { return &s.Headers },
		"Sent with every call; a call's own header of the same name replaces one. Never sent on to another host."),
	spec.Object("auth", func(s *settings) *authSettings { return &s.Auth }, "How we prove who we are.", authFields...),
	spec.Object("tls", func(s *settings) *tlsSettings { return &s.TLS }, "Certificates beyond what the machine trusts. TLS 1.2 is the least.", tlsFields...),
	spec.Object("redirects", func(s *settings) *redirectSettings { return &s.Redirects },
		"Which redirects are followed. Credentials and headers of the connection and the call never go to another scheme, host or port, and no redirect leads from https to http.", redirectFields...),
	spec.Size("max_response", func(s *settings) *int64 { return &s.MaxResponse },
		"The largest answer, unpacked. A larger one fails with too_large.").Or(10 << 20).Min(1),
	spec.Duration("idle_timeout", func(s *settings) *time.Duration { return &s.IdleTimeout },
		"How long an unused connection is kept. Set it below what the other system closes them after.").Or(60 * time.Second).Min(time.Second),
}

var authFields = []spec.Field{
	spec.String("scheme", func(a *authSettings) *string { return &a.Scheme }, "Which proof.").
		Enum(schemeNone, schemeBasic, schemeBearer, schemeAPIKey, schemeOAuth2).Required(),
	spec.String("user", func(a *authSettings) *string { return &a.User }, "basic: the user."),
	spec.String("password", func(a *authSettings) *string { return &a.Password }, "basic: the password."),
	spec.String("token", func(a *authSettings) *string { return &a.Token }, "bearer: the token."),
	spec.String("header", func(a *authSettings) *string { return &a.Header }, "api_key: the header that carries the key."),
	spec.String("query", func(a *authSettings) *string { return &a.Query }, "api_key: the query parameter that carries the key, where it cannot be a header."),
	spec.String("key", func(a *authSettings) *string { return &a.Key }, "api_key: the key."),
	spec.String("token_url", func(a *authSettings) *string { return &a.TokenURL }, "oauth2: where access tokens are given (client credentials, RFC 6749, 4.4)."),
	spec.String("client_id", func(a *authSettings) *string { return &a.ClientID }, "oauth2: the client."),
	spec.String("client_secret", func(a *authSettings) *string { return &a.ClientSecret }, "oauth2: its secret."),
	spec.String("client_auth", func(a *authSettings) *string { return &a.ClientAuth }, "oauth2: how the client names itself to token_url: as basic authentication, or in the body.").
		Enum("basic", "body").Or("basic"),
	spec.Strings("scopes", func(a *authSettings) *[]string { return &a.Scopes }, "oauth2: the scopes to ask for."),
	spec.String("audience", func(a *authSettings) *string { return &a.Audience }, "oauth2: the audience to ask for."),
	spec.StringMap("params", func(a *authSettings) *[]spec.KV { return &a.Params }, "oauth2: further parameters of the token request."),
}

var tlsFields = []spec.Field{
	spec.String("ca", func(t *tlsSettings) *string { return &t.CA }, "The only authorities that are trusted: certificates as PEM, or the path of a file of them."),
	spec.String("cert", func(t *tlsSettings) *string { return &t.Cert }, "Our certificate, for servers that ask for one (mTLS): PEM, or the path of a file."),
	spec.String("key", func(t *tlsSettings) *string { return &t.Key }, "The private key of cert: PEM, or the path of a file."),
	spec.String("server_name", func(t *tlsSettings) *string { return &t.ServerName }, "The name that the server's certificate must have, where it is not the host of the url."),
}

var redirectFields = []spec.Field{
	spec.Int("max", func(r *redirectSettings) *int { return &r.Max }, "The most in a row; 0 follows none.").Or(5).Min(0).Max(20),
	spec.Bool("sends", func(r *redirectSettings) *bool { return &r.Sends },
		"Whether those of post, put, patch and delete are followed too: 307 and 308 are sent again, within the same host; 303 is read. Otherwise they fail."),
}

var pathField = spec.Path("path", func(w *with) *string { return &w.Path },
	"Below the connection's url. Every ${} is one segment, percent-encoded; it can lead to no other host and not above the url. A query may follow a ?.")

var readFields = []spec.Field{pathField, queryField, headersField, responseField}

// getFields are of a read that may have pages.
var getFields = []spec.Field{pathField, queryField, headersField, responseField, pagesField}

var sendFields = []spec.Field{pathField, queryField, headersField, formatField, rootField, contentTypeField, responseField}

var requestFields = append([]spec.Field{
	spec.String("method", func(w *with) *string { return &w.Method }, "The method, in capitals as the other system knows it.").Required(),
}, sendFields...)

var (
	queryField = spec.StringMap("query", func(w *with) *[]spec.KV { return &w.Query },
		"Query parameters, encoded, in this order.")
	headersField = spec.StringMap("headers", func(w *with) *[]spec.KV { return &w.Headers },
		"Headers of this call.")
	formatField = spec.String("format", func(w *with) *string { return &w.Format },
		"What the document is sent as; as it is where nothing is said. multipart takes an object of parts: text, or a file as { filename, type, raw }, with encoding: base64 where it is not text.").
		Enum(formatJSON, formatXML, formatText, formatForm, formatMultipart, formatBinary)
	rootField = spec.String("root", func(w *with) *string { return &w.Root },
		"With format: xml, the name of the root element, where the document is not an object with that one key.")
	contentTypeField = spec.String("content_type", func(w *with) *string { return &w.ContentType },
		"The Content-Type to send, where the format's own is not what the other system wants.")
	responseField = spec.String("response", func(w *with) *string { return &w.Response },
		"What the answer is read as, where its Content-Type is missing or wrong.").
		Enum(formatJSON, formatXML, formatText, formatForm, formatBinary)
)

// literal reports whether a setting is there and known before the run.
func literal(s string) bool { return s != "" && !strings.Contains(s, "${") }

// check finds what excludes what. Values may still hold expressions.
func check(v any) []string {
	s := v.(*settings)
	var wrong []string
	if literal(s.URL) {
		if _, why := parseBase(s.URL); why != "" {
			wrong = append(wrong, why)
		}
	}
	for _, h := range s.Headers {
		if why := badHeader(h.Name, ""); why != "" {
			wrong = append(wrong, "headers: "+why)
		}
		if s.Auth.Scheme != "" && strings.EqualFold(h.Name, "Authorization") {
			wrong = append(wrong, "headers: Authorization stands beside auth: only one of them can be sent")
		}
	}
	wrong = append(wrong, s.Auth.check()...)
	if (s.TLS.Cert == "") != (s.TLS.Key == "") {
		wrong = append(wrong, "tls: cert and key need each other")
	}
	return wrong
}

// check compares what is given with what the scheme takes.
func (a *authSettings) check() []string {
	takes := map[string][]string{
		schemeBasic:  {"user", "password"},
		schemeBearer: {"token"},
		schemeAPIKey: {"header", "query", "key"},
		schemeOAuth2: {"token_url", "client_id", "client_secret", "scopes", "audience", "params"},
	}[a.Scheme]
	needs := map[string][]string{
		schemeBasic:  {"user"},
		schemeBearer: {"token"},
		schemeAPIKey: {"key"},
		schemeOAuth2: {"token_url", "client_id", "client_secret"},
	}[a.Scheme]
	given := []struct {
		key string
		ok  bool
	}{
		{"user", a.User != ""}, {"password", a.Password != ""}, {"token", a.Token != ""},
		{"header", a.Header != ""}, {"query", a.Query != ""}, {"key", a.Key != ""},
		{"token_url", a.TokenURL != ""}, {"client_id", a.ClientID != ""}, {"client_secret", a.ClientSecret != ""},
		{"scopes", len(a.Scopes) > 0}, {"audience", a.Audience != ""}, {"params", len(a.Params) > 0},
	}
	var wrong []string
	for _, g := range given {
		switch {
		case g.ok && !contains(takes, g.key) && a.Scheme == "":
			wrong = append(wrong, "auth: "+g.key+" without a scheme")
		case g.ok && !contains(takes, g.key):
			wrong = append(wrong, "auth: scheme "+a.Scheme+" takes no "+g.key)
		case !g.ok && contains(needs, g.key):
			wrong = append(wrong, "auth: scheme "+a.Scheme+" needs "+g.key)
		}
	}
	if a.Scheme == schemeAPIKey && (a.Header == "") == (a.Query == "") {
		wrong = append(wrong, "auth: scheme api_key needs either header or query")
	}
	if a.Header != "" {
		if why := badHeader(a.Header, ""); why != "" {
			wrong = append(wrong, "auth: "+why)
		}
	}
	if strings.Contains(a.User, ":") && literal(a.User) {
		wrong = append(wrong, "auth: user holds a colon, which basic authentication cannot carry")
	}
	if literal(a.TokenURL) {
		if _, why := parseBase(a.TokenURL); why != "" {
			wrong = append(wrong, "auth: token_"+why)
		}
	}
	return wrong
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}
