package smtp

import (
	"net"
	"strconv"
	"testing"

	"valence/connectors/connectortest"
	"valence/internal/test/servers"
)

// message is a `with:` that the mail server accepts.
func message(changes ...any) connectortest.Settings {
	s := connectortest.Settings{"from": "Shop <shop@example.com>", "to": []any{"anna@example.com"}, "subject": "Order 1", "text": "Thank you."}
	for i := 0; i < len(changes); i += 2 {
		s[changes[i].(string)] = changes[i+1]
	}
	return s
}

func server(t *testing.T, o servers.SMTPOptions) *servers.SMTP {
	t.Helper()
	s, err := servers.StartSMTP(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// to returns the settings of a connection without TLS to a local port.
func to(port int, changes ...any) connectortest.Settings {
	s := connectortest.Settings{"host": "127.0.0.1", "port": port, "user": servers.MailUser, "password": servers.MailPassword, "tls": "none"}
	for i := 0; i < len(changes); i += 2 {
		s[changes[i].(string)] = changes[i+1]
	}
	return s
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestConforms(t *testing.T) {
	s := server(t, servers.SMTPOptions{})
	connectortest.Conform(t, connectortest.Subject{
		Connector: Connector("1.2.3"),
		Settings:  to(s.Port),
		Away:      to(portOf(t, connectortest.AwayAddress(t))),
		Silent:    to(portOf(t, connectortest.SilentAddress(t))),
		Secrets:   []string{servers.MailPassword},
		Calls:     []connectortest.Call{{Operation: "send", With: message()}},
	})
}
