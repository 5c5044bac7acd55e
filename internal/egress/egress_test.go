package egress

import (
	"context"
	"errors"
	"net/netip"
	"testing"
)

func list(t *testing.T, entries ...string) *List {
	t.Helper()
	l, err := Parse(entries)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestTarget checks which URLs are below an allowed one, however a server reads
// their path.
func TestTarget(t *testing.T) {
	l := list(t, "https://shop.example/hooks/", "https://erp.example", "http://localhost:8080/a")
	for raw, ok := range map[string]bool{
		"https://shop.example/hooks/":             true,
		"https://shop.example/hooks/1?x=1":        true,
		"https://SHOP.example:443/hooks/1":        true,
		"https://shop.example./hooks/1":           true,
		"https://erp.example":                     true,
		"https://erp.example/anything":            true,
		"http://localhost:8080/a":                 true,
		"http://localhost:8080/a/b":               true,
		"http://localhost:8080/ab":                false,
		"http://localhost/a":                      false,
		"https://shop.example/hooks":              false,
		"https://shop.example/other":              false,
		"http://shop.example/hooks/":              false,
		"https://shop.example:8443/hooks/":        false,
		"https://shop.example.evil.test/hooks/":   false,
		"https://shop.example@evil.test/hooks/":   false,
		"https://user:x@shop.example/hooks/":      false,
		"https://shop.example/hooks/../admin":     false,
		"https://shop.example/hooks/%2e%2e/admin": false,
		"https://shop.example/hooks/..%2fadmin":   false,
		"https://shop.example/hooks/..;/admin":    false,
		"https://shop.example/hooks/..;x=1/admin": false,
		"https://shop.example/hooks/.;/admin":     false,
		"https://shop.example/hooks/%2e%2e;/a":    false,
		"https://shop.example/hooks/%252e%252e/a": false,
		"https://shop.example/hooks/.%25252e/a":   false,
		"https://shop.example/hooks/..%252fadmin": false,
		"https://shop.example/hooks/..%255cadmin": false,
		"https://shop.example/hooks/%2e%252e;/a":  false,
		"https://shop.example/hooks/a;v=1/b..c":   true,
		"https://shop.example/hooks/100%25":       true,
		"https://shop.example/hooks/...":          true,
		"https://shop.example/hooks/..%5cadmin":   false,
		"https://shop.example\\@evil.test/hooks/": false,
		"https://shop.example/hooks/\x00":         false,
		"https://shop.example/hooks/ x":           false,
		"https://shop.example/hooks/#x":           false,
		"https:shop.example/hooks/":               false,
		"ftp://shop.example/hooks/":               false,
		"//shop.example/hooks/":                   false,
		"file:///etc/passwd":                      false,
		"https://[::ffff:127.0.0.1]/hooks/":       false,
		"https://[fe80::1%25eth0]/hooks/":         false,
		"https://shop.example:/hooks/":            false,
		"":                                        false,
	} {
		_, err := l.Target(raw)
		if (err == nil) != ok {
			t.Errorf("%q: got %v, want allowed = %v", raw, err, ok)
		}
		if err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("%q: got %v, want ErrRefused", raw, err)
		}
	}
}

func TestPublic(t *testing.T) {
	for ip, public := range map[string]bool{
		"93.184.216.34": true, "8.8.8.8": true, "2606:2800:220:1:248:1893:25c8:1946": true, "172.32.0.1": true, "192.167.1.1": true,
		"127.0.0.1": false, "127.1.2.3": false, "0.0.0.0": false, "10.1.2.3": false, "172.16.0.1": false, "172.31.255.255": false,
		"192.168.0.1": false, "169.254.169.254": false, "100.64.0.1": false, "198.18.0.1": false, "224.0.0.1": false, "255.255.255.255": false,
		"192.0.0.192": false, "::": false, "::1": false, "::127.0.0.1": false, "::ffff:127.0.0.1": false, "::ffff:169.254.169.254": false,
		"64:ff9b::7f00:1": false, "64:ff9b::a9fe:a9fe": false, "64:ff9b:1::1": false, "2002:7f00:1::": false, "2001:0:7f00:1::": false,
		"fe80::1": false, "fc00::1": false, "fd00:ec2::254": false, "ff02::1": false, "fe80::1%eth0": false, "2001:db8::1": false,
	} {
		if got := Public(netip.MustParseAddr(ip)); got != public {
			t.Errorf("%s: got public = %v, want %v", ip, got, public)
		}
	}
}

// stub is a resolver with fixed addresses.
type stub []string

func (s stub) LookupNetIP(context.Context, string, string) (out []netip.Addr, err error) {
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	if len(out) == 0 {
		err = errors.New("no such host")
	}
	return out, err
}

func TestResolve(t *testing.T) {
	for _, c := range []struct {
		name    string
		allow   []string
		target  string
		dns     stub
		ok      bool
		refused bool
	}{
		{"public", []string{"https://shop.example/"}, "https://shop.example/", stub{"93.184.216.34", "2606:2800:220:1::1"}, true, false},
		{"one of two is private", []string{"https://shop.example/"}, "https://shop.example/", stub{"93.184.216.34", "10.0.0.1"}, false, true},
		{"a public name at the metadata address", []string{"https://shop.example/"}, "https://shop.example/", stub{"169.254.169.254"}, false, true},
		{"mapped", []string{"https://shop.example/"}, "https://shop.example/", stub{"::ffff:127.0.0.1"}, false, true},
		{"NAT64", []string{"https://shop.example/"}, "https://shop.example/", stub{"64:ff9b::a00:1"}, false, true},
		{"private, its network named", []string{"https://erp.internal/", "10.0.0.0/8"}, "https://erp.internal/", stub{"10.0.0.1"}, true, false},
		{"private, another network named", []string{"https://erp.internal/", "10.1.0.0/16"}, "https://erp.internal/", stub{"10.0.0.1"}, false, true},
		{"loopback named", []string{"http://127.0.0.1:8080/"}, "http://127.0.0.1:8080/", nil, true, false},
		{"localhost named", []string{"http://localhost:8080/"}, "http://localhost:8080/", stub{"127.0.0.1", "::1"}, true, false},
		{"localhost elsewhere", []string{"http://localhost:8080/"}, "http://localhost:8080/", stub{"10.0.0.1"}, false, true},
		{"unknown", []string{"https://shop.example/"}, "https://shop.example/", nil, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := list(t, c.allow...)
			u, err := l.Target(c.target)
			if err != nil {
				t.Fatal(err)
			}
			at, err := l.Resolve(context.Background(), c.dns, u)
			if (err == nil) != c.ok || errors.Is(err, ErrRefused) != c.refused || c.ok && len(at) == 0 {
				t.Errorf("got %v, %v, want allowed = %v, refused = %v", at, err, c.ok, c.refused)
			}
		})
	}
}

func TestParse(t *testing.T) {
	for _, e := range []string{"", "shop.example", "https://", "https://u:p@shop.example/", "https://shop.example/?x", "https://shop.example/#x", "ftp://shop.example", "10.0.0.0/99", "https://shop.example/../x"} {
		if _, err := Parse([]string{e}); err == nil {
			t.Errorf("%q: got nil, want an error", e)
		}
	}
}

func FuzzTarget(f *testing.F) {
	f.Add("https://shop.example/hooks/1")
	f.Add("https://shop.example@evil/hooks/")
	l, err := Parse([]string{"https://shop.example/hooks/"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := l.Target(raw)
		if err == nil && (host(u) != "shop.example" || u.User != nil || port(u) != "443") {
			t.Errorf("%q: got %s, want https://shop.example", raw, u.Host)
		}
	})
}
