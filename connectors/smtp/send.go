package smtp

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"

	"valence/connectors"
	"valence/connectors/tlsconfig"
	"valence/internal/document"
)

// maxSendTime bounds a call that has no timeout, and deadlineMargin is the time
// after the timeout of a call at which its connection ends by itself.
const (
	maxSendTime    = time.Hour
	deadlineMargin = 5 * time.Second
)

// headerRecipients lists all recipients in a preview: the message does not
// contain those in bcc.
const headerRecipients = "X-Recipients"

var sendOperation = func() connectors.Operation {
	op := connectors.Define(connectors.Operation{
		Name: "send", With: sendFields, Check: checkSend, Files: true,
		Doc: "Sends a message to all recipients. It returns `{ message_id, response }` after the server has accepted the message for all of them; " +
			"if it rejects one of them, nobody gets it and the failure has the code of its reply, such as `550`.",
		Sample: "- call: mail.send\n  with:\n    from: Shop <shop@example.com>\n    to: ${doc.customer.email}\n    subject: Order ${doc.number}\n    text: Thank you for your order.\n",
	}, func(ctx context.Context, c *connection, w *send, call *connectors.Call) (*connectors.Result, error) {
		m, err := compose(ctx, w, call)
		if err != nil {
			return nil, err
		}
		response, f := c.send(ctx, m)
		if f != nil {
			return nil, f
		}
		o := &document.Object{}
		o.Set("message_id", m.GetMessageID())
		o.Set("response", response)
		return &connectors.Result{Doc: document.FromValue(o)}, nil
	})
	op.Preview = preview
	return op
}()

// preview returns the message that a call would send.
func preview(ctx context.Context, conn connectors.Connection, with any, call *connectors.Call) (*connectors.Preview, error) {
	c, w := conn.(*connection), with.(*send)
	m, err := compose(ctx, w, call)
	if err != nil {
		return nil, err
	}
	recipients, err := m.GetRecipients()
	if err != nil {
		return nil, badCall("%v", err)
	}
	var text bytes.Buffer
	if err := m.write(&text, described); err != nil {
		return nil, badCall("%v", err)
	}
	return &connectors.Preview{
		Method: "SEND", URL: "smtp://" + c.address, Headers: http.Header{headerRecipients: {strings.Join(recipients, ", ")}}, Body: text.Bytes(),
	}, nil
}

// send sends a message over a connection of its own, which the end of ctx closes,
// and returns the response of the server.
func (c *connection) send(ctx context.Context, m *letter) (response string, err error) {
	link := &link{ctx: ctx, c: c}
	client, err := c.client(ctx, link.dial)
	if err != nil {
		return "", badCall("%v", err)
	}
	defer link.close()
	session, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return "", c.connectFailure(ctx, err)
	}
	if len(m.files) > 0 {
		if response, err = m.deliver(session); err != nil {
			return "", c.sendFailure(ctx, err)
		}
	} else {
		if err = client.SendWithSMTPClient(session, m.Msg); !m.IsDelivered() {
			return "", c.sendFailure(ctx, err)
		}
		response = m.ServerResponse()
	}
	_ = session.Quit() // the server has accepted the message
	return response, nil
}

// client returns a client. The end of ctx closes its connection, so its own
// deadlines come later.
func (c *connection) client(ctx context.Context, dial gomail.DialContextFunc) (*gomail.Client, error) {
	limit := maxSendTime
	if until, ok := ctx.Deadline(); ok {
		limit = max(time.Until(until), 0) + deadlineMargin
	}
	options := []gomail.Option{
		gomail.WithPort(c.Port), gomail.WithDialContextFunc(dial), gomail.WithTimeout(limit), gomail.WithoutNoop(), gomail.WithoutRset(),
	}
	if c.Mode.TLS == tlsconfig.Required {
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory), gomail.WithTLSConfig(c.tls))
	} else {
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	}
	if c.User != "" {
		options = append(options, gomail.WithUsername(c.User), gomail.WithPassword(c.Password), gomail.WithOpportunisticSMTPAuth(mechanisms...))
	}
	return gomail.NewClient(c.Host, options...)
}

// mechanisms are the ways to log in, best first. The client library does not
// know that a connection with implicit TLS is encrypted, so the plain ones are
// those that it allows without encryption.
var mechanisms = []gomail.SMTPAuthType{
	gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthSCRAMSHA1, gomail.SMTPAuthCramMD5, gomail.SMTPAuthPlainNoEnc, gomail.SMTPAuthLoginNoEnc,
}

// link is the network connection of one call.
type link struct {
	ctx  context.Context // of the call
	c    *connection
	conn net.Conn
	stop func() bool
}

func (l *link) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := l.c.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	l.conn, l.stop = conn, context.AfterFunc(l.ctx, func() { conn.Close() })
	if l.c.Mode.TLS == tlsconfig.Implicit {
		return tls.Client(conn, l.c.tls), nil
	}
	return conn, nil
}

func (l *link) close() {
	if l.conn != nil {
		l.stop()
		l.conn.Close()
	}
}
