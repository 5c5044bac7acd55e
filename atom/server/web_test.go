package server

import "testing"

func TestConnectionsPerAddressDefaultToAQuarter(t *testing.T) {
	zero, seven := 0, 7
	for _, test := range []struct {
		name  string
		total int
		given *int
		want  int
	}{
		{"default", 10_000, nil, 2500},
		{"few connections", 2, nil, 1},
		{"unlimited connections", 0, nil, 0},
		{"given", 10_000, &seven, 7},
		{"given without a total", 0, &seven, 7},
		{"switched off", 10_000, &zero, 0},
	} {
		if got := (WebOptions{MaxConnections: test.total, MaxConnectionsPerAddress: test.given}).perAddress(); got != test.want {
			t.Errorf("%s: got %d, want %d", test.name, got, test.want)
		}
	}
}
