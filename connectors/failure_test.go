package connectors

import (
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 5, 11, 9, 30, 0, 0, time.UTC)
	tests := []struct {
		text string
		want time.Duration
	}{
		{"", 0}, {"0", 0}, {"120", 2 * time.Minute}, {"-5", 0}, {"soon", 0}, {"1.5", 0},
		{"86401", 24 * time.Hour}, {"99999999999999999999999", 24 * time.Hour}, {"18446744073709551615", 24 * time.Hour},
		{"Mon, 11 May 2026 09:31:00 GMT", time.Minute}, {"Mon, 11 May 2026 09:29:00 GMT", 0},
		{"Monday, 11-May-26 09:30:30 GMT", 30 * time.Second}, {"Mon, 11 May 9999 09:30:00 GMT", 24 * time.Hour},
	}
	for _, test := range tests {
		if got := RetryAfter(test.text, now); got != test.want {
			t.Errorf("%q: got %v, want %v", test.text, got, test.want)
		}
	}
}
