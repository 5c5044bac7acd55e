package smtp

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"
	"testing"

	"valence/connectors"
	"valence/connectors/connectortest"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/internal/test/servers"
	"valence/internal/test/testcert"
)

func bind(t *testing.T, fields []spec.Field, into any, values connectortest.Settings) {
	t.Helper()
	o, _ := document.FromPlain(map[string]any(values)).(*document.Object)
	if err := spec.Bind(fields, into, o); err != nil {
		t.Fatal(err)
	}
}

// call sends one message.
func call(ctx context.Context, t *testing.T, connection, with connectortest.Settings) (*connectors.Result, error) {
	t.Helper()
	c := Connector("1.2.3")
	s := c.NewSettings()
	bind(t, c.Settings, s, connection)
	conn, err := c.Open(s, nil)
	if err != nil {
		return nil, err
	}
	w := &send{}
	bind(t, sendFields, w, with)
	return sendOperation.Run(ctx, conn, w, &connectors.Call{IdempotencyKey: "key-1"})
}

func failure(t *testing.T, err error, code string, retryable bool) *fault.Failure {
	t.Helper()
	var f *fault.Failure
	if !errors.As(err, &f) || f.Code != code || f.Retryable != retryable {
		t.Fatalf("got %#v, want code %s, retryable %v", err, code, retryable)
	}
	if strings.Contains(f.Error(), servers.MailPassword) {
		t.Errorf("the error contains the password: %v", f)
	}
	return f
}

func TestSendsMessage(t *testing.T) {
	s := server(t, servers.SMTPOptions{})
	with := message("to", []any{"Anna <anna@example.com>, ben@example.com"}, "bcc", []any{"audit@example.com"}, "subject", "Größe 42",
		"html", "<p>Thank you.</p>", "reply_to", []any{"service@example.com"}, "headers", map[string]any{"In-Reply-To": "<1@example.com>"},
		"attachments", []any{
			map[string]any{"filename": "a.csv", "type": "text/csv", "raw": "a,b\n"},
			map[string]any{"filename": "x\"\r\n/b.pdf", "raw": map[string]any{"type": "application/pdf", "raw": base64.StdEncoding.EncodeToString([]byte{0, 255}), "encoding": "base64"}},
		})
	for range 2 {
		if _, err := call(t.Context(), t, to(s.Port), with); err != nil {
			t.Fatal(err)
		}
	}
	mails := s.Mails()
	if len(mails) != 2 || mails[0].From != "shop@example.com" || strings.Join(mails[0].To, " ") != "anna@example.com ben@example.com audit@example.com" {
		t.Fatalf("got %+v, want two messages to three recipients", mails)
	}
	m, err := mail.ReadMessage(strings.NewReader(string(mails[0].Content)))
	if err != nil {
		t.Fatal(err)
	}
	again, err := mail.ReadMessage(strings.NewReader(string(mails[1].Content)))
	if err != nil {
		t.Fatal(err)
	}
	if id := m.Header.Get("Message-ID"); id == "" || id != again.Header.Get("Message-ID") {
		t.Errorf("got Message-ID %q and %q, want the same", id, again.Header.Get("Message-ID"))
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil || subject != "Größe 42" {
		t.Errorf("got subject %q, %v", subject, err)
	}
	for name, want := range map[string]string{"Bcc": "", "Reply-To": "<service@example.com>", "In-Reply-To": "<1@example.com>"} {
		if got := m.Header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	names := []string{}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, p))
		if p.FileName() != "" {
			names = append(names, p.FileName()+"="+string(content))
			if err != nil {
				t.Error(err)
			}
		}
	}
	if got, want := strings.Join(names, " "), "a.csv=a,b\n x____b.pdf=\x00\xff"; got != want {
		t.Errorf("got attachments %q, want %q", got, want)
	}
}

func TestServerRejects(t *testing.T) {
	s := server(t, servers.SMTPOptions{MaxBytes: 4096})
	for _, x := range []struct {
		name      string
		to        connectortest.Settings
		with      connectortest.Settings
		code      string
		retryable bool
	}{
		{"unknown recipient", to(s.Port), message("to", []any{"anna@example.com", "nobody@example.com"}), "550", false},
		{"busy recipient", to(s.Port), message("to", []any{"busy@example.com"}), "450", true},
		{"the server stops", to(s.Port), message("to", []any{"closing@example.com"}), fault.CodeUnavailable, true},
		{"too large", to(s.Port), message("text", strings.Repeat("x", 5000)), "552", false},
		{"wrong password", to(s.Port, "password", "wrong"), message(), codeAuth, false},
		{"TLS is not offered", to(s.Port, "tls", "required"), message(), fault.CodeConnect, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := call(t.Context(), t, x.to, x.with)
			failure(t, err, x.code, x.retryable)
		})
	}
	if got := s.Mails(); len(got) != 0 {
		t.Errorf("got %d messages, want none", len(got))
	}
}

func TestTLS(t *testing.T) {
	cert, key := testcert.New(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"required", "implicit"} {
		s := server(t, servers.SMTPOptions{TLS: &tls.Config{Certificates: []tls.Certificate{pair}}, Implicit: mode == "implicit"})
		if _, err := call(t.Context(), t, to(s.Port, "tls", mode, "ca", cert), message()); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
		_, err := call(t.Context(), t, to(s.Port, "tls", mode), message())
		failure(t, err, fault.CodeConnect, true)
		if got := len(s.Mails()); got != 1 {
			t.Errorf("%s: got %d messages, want 1", mode, got)
		}
	}
}

func TestRefusesHostileValues(t *testing.T) {
	s := server(t, servers.SMTPOptions{})
	for name, with := range map[string]connectortest.Settings{
		"subject":     message("subject", "Hi\r\nBcc: evil@example.com"),
		"header":      message("headers", map[string]any{"X-Order": "1\r\nBcc: evil@example.com"}),
		"header name": message("headers", map[string]any{"X-Order: 1\r\nBcc": "evil@example.com"}),
		"known":       message("headers", map[string]any{"bcc": "evil@example.com"}),
		"to":          message("to", []any{"anna@example.com\r\nRCPT TO:<evil@example.com>"}),
		"from":        message("from", "shop@example.com>\r\nDATA"),
		"nobody":      message("to", []any{}),
		"type":        message("attachments", []any{map[string]any{"filename": "a", "type": "text/plain\r\nX: y", "raw": "a"}}),
		"raw":         message("attachments", []any{map[string]any{"filename": "a", "raw": 1}}),
		"encoding":    message("attachments", []any{map[string]any{"filename": "a", "raw": "*", "encoding": "base64"}}),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := call(t.Context(), t, to(s.Port), with)
			failure(t, err, codeBadCall, false)
		})
	}
	if got := s.Mails(); len(got) != 0 {
		t.Errorf("got %d messages, want none", len(got))
	}
}

func TestCheck(t *testing.T) {
	w := &send{}
	bind(t, sendFields, w, message("to", []any{"anna", "${doc.to}"}, "headers", map[string]any{"Subject": "x", "X-A": "${doc.a}"}))
	if got := checkSend(w); len(got) != 2 {
		t.Errorf("got %q, want a problem of to and one of headers", got)
	}
	if got := check(&settings{User: "shop"}); len(got) != 1 {
		t.Errorf("got %q, want a problem", got)
	}
}

func TestPreviewShowsTheMessage(t *testing.T) {
	c := &connection{address: "mail.example:587"}
	w := &send{}
	bind(t, sendFields, w, message("bcc", []any{"audit@example.com"}))
	p, err := preview(t.Context(), c, w, &connectors.Call{IdempotencyKey: "key-1"})
	if err != nil {
		t.Fatal(err)
	}
	if p.Method != "SEND" || p.URL != "smtp://mail.example:587" || !strings.Contains(p.Headers.Get(headerRecipients), "audit@example.com") ||
		!strings.Contains(string(p.Body), "Subject: Order 1") || strings.Contains(string(p.Body), "audit@") {
		t.Errorf("got %s %s %v\n%s", p.Method, p.URL, p.Headers, p.Body)
	}
}
