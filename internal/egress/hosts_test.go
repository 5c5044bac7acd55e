package egress

import (
	"net/netip"
	"testing"
)

func TestHosts(t *testing.T) {
	h, err := ParseHosts([]string{"erp.example", "shop.example:8443", "*.cloud.example", "10.1.0.0/16", "192.168.1.7:5432", "[2001:db8::1]:443", "2001:db8::2", "Kafka1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, port string
		want       bool
	}{
		{"erp.example", "443", true}, {"erp.example", "8080", true}, {"erp.example.evil.test", "443", false}, {"xerp.example", "443", false},
		{"shop.example", "8443", true}, {"shop.example", "443", false},
		{"eu.cloud.example", "443", true}, {"a.b.cloud.example", "1", true}, {"cloud.example", "443", false},
		{"kafka1", "9092", true}, {"kafka2", "9092", false}, {"", "443", false},
	} {
		if got := h.Named(HostName(c.name), c.port); got != c.want {
			t.Errorf("%s:%s: got %v, want %v", c.name, c.port, got, c.want)
		}
	}
	for _, c := range []struct {
		ip, port string
		want     bool
	}{
		{"10.1.2.3", "1", true}, {"10.2.0.1", "1", false}, {"::ffff:10.1.2.3", "1", true}, {"192.168.1.7", "5432", true}, {"192.168.1.7", "22", false},
		{"2001:db8::1", "443", true}, {"2001:db8::1", "80", false}, {"2001:db8::2", "80", true},
	} {
		if got := h.Contains(netip.MustParseAddr(c.ip), c.port); got != c.want {
			t.Errorf("%s port %s: got %v, want %v", c.ip, c.port, got, c.want)
		}
	}
	all, err := ParseHosts([]string{"*"})
	if err != nil || !all.Named("anything", "1") || !all.Named("10.0.0.1", "1") {
		t.Errorf("*: got %v, %v, want every host", all, err)
	}
	for _, wrong := range []string{"", "https://erp.example", "erp.example/x", "erp example", "a..b", "*erp", "erp.*", "erp.example:0", "erp.example:http", "10.0.0.0/99", "m\u00fcller.example", "-a.example", "fe80::1%eth0"} {
		if _, err := ParseHosts([]string{wrong}); err == nil {
			t.Errorf("%q: got nil, want an error", wrong)
		}
	}
}

func TestMetadata(t *testing.T) {
	for ip, want := range map[string]bool{
		"169.254.169.254": true, "::ffff:169.254.169.254": true, "fe80::1": true, "fe80::1%eth0": true, "fd00:ec2::254": true, "100.100.100.200": true,
		"127.0.0.1": false, "10.0.0.1": false, "8.8.8.8": false, "fd00::1": false,
	} {
		if got := Metadata(netip.MustParseAddr(ip)); got != want {
			t.Errorf("%s: got %v, want %v", ip, got, want)
		}
	}
}
