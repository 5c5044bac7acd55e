package http

import (
	"strings"
	"time"

	"valence/connectors/tlsconfig"
	"valence/internal/spec"
)

// settings holds the settings of a connection.
type settings struct {
	URL         string
	Headers     []spec.KV
	Auth        authSettings
	TLS         tlsconfig.Settings
	Redirects   redirectSettings
	MaxResponse int64
	IdleTimeout time.Duration
}

type redirectSettings struct {
	Max            int
	Sends, Private bool
}

// authSettings holds the credentials of a connection. Scheme decides which of
// them apply; check rejects the others.
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
		"Base URL of the system. Calls are relative to its path, and its query is sent with every call.").Eg("https://shop.example").Required(),
	spec.StringMap("headers", func(s *settings) *[]spec.KV { return &s.Headers },
		"Headers to send with every call. Headers of a call replace them. They are never sent to another host."),
	spec.Object("auth", func(s *settings) *authSettings { return &s.Auth }, "Credentials to send.", authFields...),
	spec.Object("tls", func(s *settings) *tlsconfig.Settings { return &s.TLS }, "TLS settings. The minimum version is TLS 1.2.", tlsconfig.Fields...),
	spec.Object("redirects", func(s *settings) *redirectSettings { return &s.Redirects },
		"Redirects to follow. Credentials and headers are never sent to another scheme, host or port, and redirects from https to http, and from public to private addresses, are not followed.", redirectFields...),
	spec.Size("max_response", func(s *settings) *int64 { return &s.MaxResponse },
		"Maximum size of an uncompressed response. A larger response fails with `too_large`.").Or(10 << 20).Min(1),
	spec.Duration("idle_timeout", func(s *settings) *time.Duration { return &s.IdleTimeout },
		"How long to keep an unused connection open. Choose a value below the idle timeout of the other system.").Or(60 * time.Second).Min(time.Second),
}

var authFields = []spec.Field{
	spec.String("scheme", func(a *authSettings) *string { return &a.Scheme }, "Authentication scheme.").
		Enum(schemeNone, schemeBasic, schemeBearer, schemeAPIKey, schemeOAuth2).Required().Eg("basic"),
	spec.String("user", func(a *authSettings) *string { return &a.User }, "basic: user name."),
	spec.String("password", func(a *authSettings) *string { return &a.Password }, "basic: password.").Secret(),
	spec.String("token", func(a *authSettings) *string { return &a.Token }, "bearer: token.").Secret(),
	spec.String("header", func(a *authSettings) *string { return &a.Header }, "api_key: header for the key."),
	spec.String("query", func(a *authSettings) *string { return &a.Query }, "api_key: query parameter for the key, if the system accepts no header."),
	spec.String("key", func(a *authSettings) *string { return &a.Key }, "api_key: key.").Secret(),
	spec.String("token_url", func(a *authSettings) *string { return &a.TokenURL }, "oauth2: URL of the token endpoint (client credentials grant, RFC 6749 section 4.4)."),
	spec.String("client_id", func(a *authSettings) *string { return &a.ClientID }, "oauth2: client id."),
	spec.String("client_secret", func(a *authSettings) *string { return &a.ClientSecret }, "oauth2: client secret.").Secret(),
	spec.String("client_auth", func(a *authSettings) *string { return &a.ClientAuth }, "oauth2: send the client id and secret by basic authentication or in the body.").
		Enum("basic", "body").Or("basic"),
	spec.Strings("scopes", func(a *authSettings) *[]string { return &a.Scopes }, "oauth2: scopes to request."),
	spec.String("audience", func(a *authSettings) *string { return &a.Audience }, "oauth2: audience to request."),
	spec.StringMap("params", func(a *authSettings) *[]spec.KV { return &a.Params }, "oauth2: additional parameters of the token request."),
}

var redirectFields = []spec.Field{
	spec.Int("max", func(r *redirectSettings) *int { return &r.Max }, "Maximum number of redirects in a row. `0` follows none.").Or(5).Min(0).Max(20),
	spec.Bool("sends", func(r *redirectSettings) *bool { return &r.Sends },
		"Also follow redirects of POST, PUT, PATCH and DELETE: 307 and 308 repeat the request on the same host, 303 sends a GET. By default such redirects fail."),
	spec.Bool("private", func(r *redirectSettings) *bool { return &r.Private }, "Also follow redirects from a server with a public address to one with a private address."),
}

var pathField = spec.Path("path", func(w *with) *string { return &w.Path },
	"Path below the URL of the connection. The value of each `${}` is percent-encoded as one segment; it cannot lead to another host or above the URL. A query may follow `?`.")

var readFields = []spec.Field{pathField, queryField, headersField, responseField, charsetField}

// getFields includes pages.
var getFields = []spec.Field{pathField, queryField, headersField, responseField, charsetField, pagesField}

var sendFields = []spec.Field{pathField, queryField, headersField, formatField, rootField, contentTypeField, responseField, charsetField}

var requestFields = append([]spec.Field{
	spec.String("method", func(w *with) *string { return &w.Method }, "HTTP method, in upper case.").Eg("GET").Required(),
}, sendFields...)

var (
	queryField = spec.StringMap("query", func(w *with) *[]spec.KV { return &w.Query },
		"Query parameters, in this order. Values are percent-encoded.")
	headersField = spec.StringMap("headers", func(w *with) *[]spec.KV { return &w.Headers },
		"Headers to send with this call.")
	formatField = spec.String("format", func(w *with) *string { return &w.Format },
		"Format to send the document in. By default it is sent as it is, and a stored file as its bytes; `binary` sends a file of any size as its bytes. `multipart` expects an object of parts: a string, or a file as `{ filename, type, raw }`, with `encoding: base64` if it is binary.").
		Enum(formatJSON, formatXML, formatText, formatForm, formatMultipart, formatBinary)
	rootField = spec.String("root", func(w *with) *string { return &w.Root },
		"With `format: xml`: name of the root element, unless the document is an object with a single key.")
	contentTypeField = spec.String("content_type", func(w *with) *string { return &w.ContentType },
		"Content-Type to send. Defaults to the one of the format.")
	charsetField = spec.String("charset", func(w *with) *string { return &w.Charset },
		"Charset of a response that declares none, such as `windows-1252`.").Or("utf-8")
	responseField = spec.String("response", func(w *with) *string { return &w.Response },
		"Format to parse the response as. Defaults to its Content-Type. A binary response of more than 1 MiB becomes a file object, whose content is stored outside the document.").
		Enum(formatJSON, formatXML, formatText, formatForm, formatBinary)
)

// check reports settings that exclude each other. Values may still be
// expressions.
func check(v any) []string {
	s := v.(*settings)
	var wrong []string
	if spec.Literal(s.URL) {
		if _, why := parseBase(s.URL); why != "" {
			wrong = append(wrong, why)
		}
	}
	for _, h := range s.Headers {
		if why := headerProblem(h.Name, ""); why != "" {
			wrong = append(wrong, "headers: "+why)
		}
		if s.Auth.Scheme != "" && strings.EqualFold(h.Name, "Authorization") {
			wrong = append(wrong, "headers: Authorization is not allowed with auth")
		}
	}
	wrong = append(wrong, s.Auth.check()...)
	return append(wrong, s.TLS.Check()...)
}

// check reports settings that the scheme does not support and missing ones.
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
			wrong = append(wrong, "auth: "+g.key+" needs a scheme")
		case g.ok && !contains(takes, g.key):
			wrong = append(wrong, "auth: scheme "+a.Scheme+" does not use "+g.key)
		case !g.ok && contains(needs, g.key):
			wrong = append(wrong, "auth: scheme "+a.Scheme+" needs "+g.key)
		}
	}
	if a.Scheme == schemeAPIKey && (a.Header == "") == (a.Query == "") {
		wrong = append(wrong, "auth: scheme api_key needs exactly one of header and query")
	}
	if a.Header != "" {
		if why := headerProblem(a.Header, ""); why != "" {
			wrong = append(wrong, "auth: "+why)
		}
	}
	if strings.Contains(a.User, ":") && spec.Literal(a.User) {
		wrong = append(wrong, "auth: user contains a colon, which basic authentication does not allow")
	}
	if spec.Literal(a.TokenURL) {
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
