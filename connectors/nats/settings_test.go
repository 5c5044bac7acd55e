package nats

import (
	"crypto/tls"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"valence/connectors"
	"valence/connectors/connectortest"
	"valence/connectors/tlsconfig"
	"valence/internal/access"
	"valence/internal/fault"
	"valence/internal/test/servers"
	"valence/internal/test/testcert"
)

func TestSettingsAreChecked(t *testing.T) {
	for _, test := range []struct {
		name string
		s    settings
		want []string
	}{
		{"one server", settings{URL: "nats://a"}, nil},
		{"a cluster", settings{URL: "tls://u:p@a:1, tls://u:p@b:2"}, nil},
		{"an expression", settings{URL: "${env.NATS}", Creds: "a.creds"}, nil},
		{"no scheme", settings{URL: "broker:4222"}, []string{"url is not a URL such as nats://broker.example:4222"}},
		{"another scheme", settings{URL: "wss://a"}, []string{"url begins with wss://; use nats:// or tls://"}},
		{"no host", settings{URL: "nats://"}, []string{"url is not a URL such as nats://broker.example:4222"}},
		{"a path", settings{URL: "nats://a/b"}, []string{"url contains more than a host and a port"}},
		{"two credentials", settings{URL: "nats://u:p@a", Creds: "a.creds"}, []string{"url contains a user, which is not allowed with creds"}},
		{"certificate without key", settings{URL: "nats://a", TLS: tlsconfig.Settings{Cert: "c"}}, []string{"tls: cert and key must be set together"}},
	} {
		if got := check(&test.s); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestSubscriptionsAreChecked(t *testing.T) {
	for _, test := range []struct {
		name string
		l    listen
		want []string
	}{
		{"consumer", listen{Stream: "S", Consumer: "c"}, nil},
		{"wildcards", listen{Stream: "S", Consumer: "c", Subject: "a.*.>"}, nil},
		{"everything", listen{Stream: "S", Consumer: "c", Subject: ">"}, nil},
		{"core", listen{Core: true, Subject: "a"}, nil},
		{"nothing", listen{}, []string{"`stream:` is missing; a subscription without JetStream needs `core: true`", "`consumer:` is missing"}},
		{"core without subject", listen{Core: true}, []string{"`core: true` needs `subject:`"}},
		{"core with stream", listen{Core: true, Subject: "a", Stream: "S"}, []string{"`stream:` is not allowed with `core: true`"}},
		{"bad subject", listen{Stream: "S", Consumer: "c", Subject: "a.>.b"}, []string{"`subject:` the subject contains a wildcard"}},
		{"bad name", listen{Stream: "S", Consumer: "a.b"}, []string{"`consumer:` a name contains no white space and none of the characters . * > / \\"}},
	} {
		if got := test.l.check(); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestCredentialsFile(t *testing.T) {
	operator, account, user := key(t, nkeys.CreateOperator), key(t, nkeys.CreateAccount), key(t, nkeys.CreateUser)
	accountToken, err := jwt.NewAccountClaims(public(t, account)).Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	userToken, err := jwt.NewUserClaims(public(t, user)).Encode(account)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	creds, err := jwt.FormatUserConfig(userToken, seed)
	if err != nil {
		t.Fatal(err)
	}
	resolver := &server.MemAccResolver{}
	if err := resolver.Store(public(t, account), accountToken); err != nil {
		t.Fatal(err)
	}
	own, err := servers.StartNATS(0, "", func(o *server.Options) {
		o.JetStream, o.TrustedKeys, o.AccountResolver = false, []string{public(t, operator)}, resolver
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(own.Close)
	file := filepath.Join(t.TempDir(), "atom.creds")
	if err := os.WriteFile(file, creds, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]settings{"file": {URL: own.URL, Creds: file}, "content": {URL: own.URL, Creds: string(creds)}} {
		if _, err := call(t.Context(), t, opened(t, s), "publish", connectortest.Settings{"subject": "a", "core": true}, connectors.Call{}); err != nil {
			t.Errorf("%s: got %v, want nil", name, err)
		}
	}
	_, err = call(t.Context(), t, opened(t, settings{URL: own.URL}), "publish", connectortest.Settings{"subject": "a", "core": true}, connectors.Call{})
	if f := fault.AsFailure(err); f == nil || f.Code != codeAuth {
		t.Errorf("without credentials: got %v, want auth", err)
	}
	for name, text := range map[string]string{"missing": filepath.Join(t.TempDir(), "none"), "another file": "-----BEGIN CERTIFICATE-----"} {
		if _, err := open(&settings{URL: own.URL, Creds: text}, "1", nil); err == nil || !strings.HasPrefix(err.Error(), "creds: ") {
			t.Errorf("%s: got %v, want an error about creds", name, err)
		}
	}
}

func key(t *testing.T, create func() (nkeys.KeyPair, error)) nkeys.KeyPair {
	t.Helper()
	k, err := create()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func public(t *testing.T, k nkeys.KeyPair) string {
	t.Helper()
	p, err := k.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPolicyLimitsTheServers(t *testing.T) {
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "policy.yaml"), []byte("hosts: [allowed.example]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	policy, err := access.Deployed(data)
	if err != nil {
		t.Fatal(err)
	}
	own, err := url.Parse(broker.URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(&settings{URL: "nats://allowed.example," + own.String()}, "1", policy); err == nil || !strings.Contains(err.Error(), own.Host) {
		t.Errorf("got %v, want a refusal of %s", err, own.Host)
	}
	if c, err := open(&settings{URL: "nats://allowed.example"}, "1", policy); err != nil {
		t.Errorf("got %v, want nil for an allowed host", err)
	} else {
		c.Close()
	}
}

func TestTLS(t *testing.T) {
	cert, certKey := testcert.New(t)
	pair, err := tls.LoadX509KeyPair(cert, certKey)
	if err != nil {
		t.Fatal(err)
	}
	own, err := servers.StartNATS(0, "", func(o *server.Options) {
		o.JetStream, o.TLS, o.TLSTimeout, o.TLSConfig = false, true, 10, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(own.Close)
	secure := strings.Replace(own.URL, "nats://", "tls://", 1)
	for _, test := range []struct {
		name string
		s    settings
		want string // of the failure
	}{
		{"own authority", settings{URL: secure, TLS: tlsconfig.Settings{CA: cert}}, ""},
		{"required by the server", settings{URL: own.URL, TLS: tlsconfig.Settings{CA: cert}}, ""},
		{"unknown authority", settings{URL: secure}, "certificate"},
		{"another name", settings{URL: secure, TLS: tlsconfig.Settings{CA: cert, ServerName: "other.example"}}, "other.example"},
		{"a server without TLS", settings{URL: strings.Replace(broker.URL, "nats://", "tls://", 1)}, "does not offer TLS"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := call(t.Context(), t, opened(t, test.s), "publish", connectortest.Settings{"subject": "a", "core": true}, connectors.Call{})
			if test.want == "" {
				if err != nil {
					t.Errorf("got %v, want nil", err)
				}
				return
			}
			if f := fault.AsFailure(err); f == nil || f.Code != fault.CodeConnect || !strings.Contains(f.Message, test.want) {
				t.Errorf("got %v, want connect: …%s…", err, test.want)
			}
		})
	}
}
