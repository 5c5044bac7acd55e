package lifecycle

import "testing"

func TestLocalAddress(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:9090": "127.0.0.1:9090", "0.0.0.0:9090": "127.0.0.1:9090", "[::]:9090": "127.0.0.1:9090", "[::1]:1": "[::1]:1", "192.0.2.1:80": "192.0.2.1:80",
	} {
		if got := LocalAddress(addr); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
}
