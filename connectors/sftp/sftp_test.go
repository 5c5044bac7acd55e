package sftp

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"valence/connectors/connectortest"
	"valence/internal/access"
	"valence/internal/egress"
)

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func TestOperations(t *testing.T) {
	c := connect(t, at(t, sshd.Address, connectortest.Settings{"max_size": "1000B"}))
	connectortest.Files(t, root(t), func(op, body string, with connectortest.Settings) (string, error) {
		return call(t.Context(), t, c, op, body, with)
	})
}

func TestSettings(t *testing.T) {
	good := connectortest.Settings{"host": "files.example", "user": "a", "password": "x", "host_key": sshd.HostKey()}
	for what, x := range map[string]struct {
		change connectortest.Settings
		want   string
	}{
		"good":             {nil, ""},
		"no login":         {connectortest.Settings{"password": ""}, "set `password:` or `key:`"},
		"no host key":      {connectortest.Settings{"host_key": []any{}}, "set either `host_key:` or `known_hosts:`"},
		"both":             {connectortest.Settings{"known_hosts": "/x"}, "set either `host_key:` or `known_hosts:`"},
		"a fingerprint":    {connectortest.Settings{"host_key": "SHA256:abc"}, "host_key must be a public key"},
		"a URL":            {connectortest.Settings{"host": "sftp://files.example"}, "host must be a name or an address"},
		"a missing file":   {connectortest.Settings{"host_key": []any{}, "known_hosts": "/missing"}, "known_hosts: open /missing"},
		"a key of nothing": {connectortest.Settings{"key": "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n"}, "key: not a private key"},
		"a missing key":    {connectortest.Settings{"key": "/missing"}, "key: neither PEM nor a readable file"},
	} {
		s := connectortest.Settings{}
		for k, v := range good {
			s[k] = v
		}
		for k, v := range x.change {
			s[k] = v
		}
		into := &settings{}
		bind(t, settingsFields, into, s)
		_, err := open(into, nil)
		if (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: got %v, want %q", what, err, x.want)
		}
	}
}

func TestPolicy(t *testing.T) {
	policy, err := access.Local(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	into := &settings{}
	bind(t, settingsFields, into, at(t, sshd.Address, nil))
	if _, err := open(into, policy.Signed("shop", []string{"files.example"})); !errors.Is(err, egress.ErrRefused) {
		t.Errorf("another host: got %v, want a refusal", err)
	}
	byName := *into
	byName.Host = "localhost"
	c, err := open(&byName, policy.Signed("shop", []string{"10.0.0.0/8"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_, err = call(t.Context(), t, c, "list", "", nil)
	wantFailure(t, "an address that is not allowed", err, "bad_call", false, "does not allow")
}
