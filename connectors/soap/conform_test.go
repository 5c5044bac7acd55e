package soap

import (
	"io"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"valence/connectors/connectortest"
)

func TestConform(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	away, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + away.Addr().String()
	if err := away.Close(); err != nil {
		t.Fatal(err)
	}
	to := func(url string) connectortest.Settings {
		return connectortest.Settings{"wsdl": "erp.wsdl", "url": url, "security": map[string]any{"user": "valence", "password": "top-secret"}}
	}
	c := Connector("1")
	operations, problems := describe(&settings{WSDL: "erp.wsdl"}, files)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	c.Operations = operations
	running := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		b, _ := io.ReadAll(r.Body)
		switch {
		case strings.Contains(string(b), ":CreateInvoice"):
			_, _ = io.WriteString(w, envelope(envelope11, `<CreateInvoiceResponse xmlns="urn:erp"><number>INV-001</number><total>21.00</total></CreateInvoiceResponse>`))
		case strings.Contains(string(b), ":Ping"):
			_, _ = io.WriteString(w, envelope(envelope11, `<Ping xmlns="urn:erp"/>`))
		default:
			w.WriteHeader(nethttp.StatusAccepted)
		}
	}))
	defer running.Close()
	connectortest.Conform(t, connectortest.Subject{
		Connector: c, Settings: to(running.URL), Away: to(address), Silent: to("http://" + silent.Addr().String()), Secrets: []string{"top-secret"},
		Calls: []connectortest.Call{{Operation: "CreateInvoice", With: connectortest.Settings{"headers": map[string]any{"Session": "s"}}, Body: invoice}, {Operation: "Ping", Body: "{}"}, {Operation: "Archive", Body: `"text"`}},
	})
}
