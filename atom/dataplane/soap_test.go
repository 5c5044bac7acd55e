package dataplane

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"valence/atom"
	"valence/internal/authn"
	"valence/internal/budget"
	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/soap"
	"valence/internal/wsdl"
	"valence/processes"
)

// serves makes a listener one of the SOAP service in the test data of package
// wsdl.
func serves(t *testing.T) func(*atom.DeployedProcess) {
	d, problems := wsdl.Read("erp.wsdl", func(name string) ([]byte, bool) {
		b, err := os.ReadFile(filepath.Join("../../internal/wsdl/testdata", filepath.FromSlash(name)))
		return b, err == nil
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	s, err := soap.New(d, "", "Erp11")
	if err != nil {
		t.Fatal(err)
	}
	return func(d *atom.DeployedProcess) {
		l := d.Process.Listen
		l.Input, l.Output, l.TimeoutAction, l.Service = "soap", "soap", "cancel", s
	}
}

func soapOf(body string) string {
	return `<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Header><m:MessageID xmlns:m="urn:wsa">u-1</m:MessageID></e:Header><e:Body>` + body + `</e:Body></e:Envelope>`
}

// Each refused request gets a fault with the status of its cause.
func TestSOAPRequests(t *testing.T) {
	ping, archive := soapOf(`<Ping xmlns="urn:erp"/>`), soapOf(`<Archive xmlns="urn:erp">a</Archive>`)
	f := &fake{}
	f.request = func(context.Context, *atom.Message) (*atom.Reply, error) {
		return &atom.Reply{Execution: "x1", Doc: document.New([]byte(`<Ping xmlns="urn:erp"/>`), "application/xml", "{}")}, nil
	}
	s := serve(t, f, on("/erp", serves(t)), on("/small", serves(t), limited(processes.Limits{Body: 10})),
		on("/basic", serves(t), guarded("b", "basic", map[string]any{"user": "u", "password": "p"})),
		on("/wss", serves(t), guarded("w", "wss", map[string]any{"user": "u", "password": "p"})), on("/slow", serves(t), limited(processes.Limits{Body: 1 << 20, Rate: 0.001})))
	send(s, "POST", "/slow", ping, "Content-Type", "text/xml")
	for _, test := range []struct {
		name, path, body, media string
		status                  int
		want                    string
	}{
		{"a reply", "/erp", ping, "text/xml", 200, `<soap:Body><Ping xmlns="urn:erp"/></soap:Body>`},
		{"a reply without a media type", "/erp", ping, "", 200, `<Ping`},
		{"an operation without an output", "/erp", archive, "text/xml", 202, ""},
		{"another media type", "/erp", ping, "application/json", 415, "<faultcode>soap:Client</faultcode>"},
		{"a version without a port", "/erp", ping, "application/soap+xml", 500, "soap:VersionMismatch"},
		{"no XML", "/erp", "{", "text/xml", 500, "The body is not valid XML"},
		{"an unknown charset", "/erp", ping, "text/xml; charset=klingon", 415, "charset"},
		{"a large body", "/small", ping, "text/xml", 413, "The limit is 10 bytes."},
		{"no password", "/basic", ping, "text/xml", 401, "The request has no valid credentials."},
		{"no token", "/wss", ping, "text/xml", 500, "FailedAuthentication"},
		{"too many requests", "/slow", ping, "text/xml", 429, "<faultcode>soap:Client</faultcode>"},
	} {
		w := send(s, "POST", test.path, test.body, "Content-Type", test.media)
		if w.Code != test.status || !strings.Contains(w.Body.String(), test.want) || test.want == "" && w.Body.Len() > 0 {
			t.Errorf("%s: got %d %s, want %d %s", test.name, w.Code, w.Body, test.status, test.want)
		}
		if media := w.Header().Get("Content-Type"); test.want != "" && media != "text/xml; charset=utf-8" {
			t.Errorf("%s: got Content-Type %s, want text/xml", test.name, media)
		}
	}
	in := f.last()
	props := string(document.AppendJSON(nil, in.Props))
	if in.Request.Operation != "Archive" || data(in.Doc) != `"a"` || props != `{"soap":{"version":"1.1","action":"","headers":{"MessageID":"u-1"}}}` || in.SHA256 == "" {
		t.Errorf("got %s %s %s, want the operation Archive with its header", in.Request.Operation, data(in.Doc), props)
	}
	f.request = func(context.Context, *atom.Message) (*atom.Reply, error) { return &atom.Reply{None: true}, nil }
	if w := send(s, "POST", "/erp", ping, "Content-Type", "text/xml"); w.Code != 500 || !strings.Contains(w.Body.String(), "soap:Server") {
		t.Errorf("no reply: got %d %s, want a fault", w.Code, w.Body)
	}
	f.request = func(context.Context, *atom.Message) (*atom.Reply, error) { return nil, atom.ErrBusy }
	if w := send(s, "POST", "/erp", ping, "Content-Type", "text/xml"); w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "soap:Server") {
		t.Errorf("busy: got %d %s, want a fault with Retry-After", w.Code, w.Body)
	}
	for path, want := range map[string]int{"/erp?wsdl": 200, "/erp?xsd=1": 200, "/erp?xsd=9": 404, "/erp": 405, "/basic?wsdl": 401, "/wss?wsdl": 200} {
		if w := send(s, "GET", path, ""); w.Code != want {
			t.Errorf("GET %s: got %d, want %d", path, w.Code, want)
		}
	}
}

// busy accepts no token, because it has accepted too many.
type busy struct{ authn.Authenticator }

func (busy) AuthenticateToken(*convert.Element) (string, error) {
	return "", &authn.BusyError{RetryAfter: 90 * time.Second}
}

// A valid token that cannot be accepted now is refused with 503 and Retry-After.
func TestSOAPTokensAtTheLimit(t *testing.T) {
	s := serve(t, &fake{}, on("/wss", serves(t), guarded("w", "wss", map[string]any{"user": "u", "password": "p"})))
	p, _ := s.routes.Load().find(&url.URL{Path: "/wss"})
	e := p.endpoints["POST"]
	e.auth = busy{e.auth}
	w := send(s, "POST", "/wss", soapOf(`<Ping xmlns="urn:erp"/>`), "Content-Type", "text/xml")
	if w.Code != 503 || w.Header().Get("Retry-After") != "90" || !strings.Contains(w.Body.String(), "<faultcode>soap:Server</faultcode>") {
		t.Errorf("got %d, Retry-After %q: %s, want a fault with 503 and 90", w.Code, w.Header().Get("Retry-After"), w.Body)
	}
}

// The elements of an envelope count in the memory for requests, also while they
// are many and small.
func TestSOAPReservesMemory(t *testing.T) {
	s := serve(t, &fake{}, on("/erp", serves(t)))
	many := soapOf(`<Ping xmlns="urn:erp">` + strings.Repeat("<a/>", 50_000) + `</Ping>`)
	for limit, want := range map[int64]string{64 << 20: "does not match the schema", 10 << 20: "needs more memory"} {
		s.options.Memory = budget.NewPool(limit)
		w := send(s, "POST", "/erp", many, "Content-Type", "text/xml")
		if !strings.Contains(w.Body.String(), want) || s.options.Memory.Used() != 0 {
			t.Errorf("limit %d: got %d %.300s with %d bytes still in use, want %s with 0", limit, w.Code, w.Body, s.options.Memory.Used(), want)
		}
	}
	full := budget.NewPool(64 << 20)
	s.options.Memory = full
	var other budget.Share
	other.Open(full)
	if err := other.Reserve(60 << 20); err != nil {
		t.Fatal(err)
	}
	if w := send(s, "POST", "/erp", many, "Content-Type", "text/xml"); w.Code != 503 || w.Header().Get("Retry-After") != "5" {
		t.Errorf("got %d, Retry-After %q while others hold the memory, want 503 and 5", w.Code, w.Header().Get("Retry-After"))
	}
}
