package compose

import (
	"slices"
	"strings"
	"testing"

	"valence/internal/wire"
)

// TestHostsInValues: every spelling of a host is recognized.
func TestHostsInValues(t *testing.T) {
	o := &source{Deployment: &wire.Deployment{}, statement: &wire.Statement{Fields: []string{"*"}, Hosts: []string{"erp.example", "*.shop.example", "[2001:db8::1]:8443"}}}
	for value, passes := range map[string]bool{
		"https://erp.example/orders":               true,
		"https://eu.shop.example":                  true,
		"https://[2001:db8::1]:8443/":              true,
		"erp.example":                              true,
		"plain text, 12 words at most":             true,
		"20s":                                      true,
		"1.4.0":                                    true,
		`{"a": "b"}`:                               true,
		"https:///evil.example":                    false,
		"file:///etc/passwd":                       false,
		"https://evil example/":                    false,
		"https://erp.example.evil.example":         false,
		"https://erp.example@evil.example":         false,
		"https://erp.example:80@evil.example":      false,
		"https://evil.example\\@erp.example":       false,
		"HTTPS://EVIL.EXAMPLE":                     false,
		"https://erp.example:444":                  false,
		"https://erp.example'.evil.example/":       false,
		"https://erp.example;.evil.example/":       false,
		"//evil.example/x":                         false,
		"host=evil.example port=5432":              false,
		"user@evil.example":                        false,
		"a@b@evil.example:22":                      false,
		"user:pw@tcp(evil.example:3306)/db":        false,
		"evil.example.":                            false,
		"10.0.0.1":                                 false,
		"10.0.0.1:80":                              false,
		"[::1]:80":                                 false,
		"fe80::1%eth0":                             false,
		"b\u00f6se.example":                        false,
		"evil\u3002example":                        false,
		"localhost:9200":                           false,
		"see erp.example and evil.example":         false,
		"https://erp.example https://evil":         false,
		"[\"https://erp.example\",\"ftp://evil\"]": false,
	} {
		if err := checkAllowed(o, "env.X", value); (err == nil) != passes {
			t.Errorf("%q: %v, %q", value, err, hostsIn(value))
		}
	}
	for _, secret := range []string{"postgres://user:hunter2 x@evil.example/", "amqp://user:hunter2@evil.example", "://hunter2"} {
		if err := checkAllowed(o, "secret.X", secret); err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "evil") {
			t.Errorf("%q: got %v, want an error without \"hunter2\", error without \"evil\"", secret, err)
		}
	}
	if !slices.Contains(hostsIn("x https://a.example y"), "a.example") {
		t.Error("URL in text: got no host, want one")
	}
}
