package authn

import (
	"context"
	"net/http"
	"testing"

	"valence/internal/test/linear"
)

// signatureHeaders are values of the headers that senders sign with.
var signatureHeaders = map[string]func(n int) string{
	"signatures":         func(n int) string { return "t=1" + linear.Many(n, ",v1=00") },
	"webhook signatures": func(n int) string { return linear.Many(n, "v1,AA== ") },
	"times":              func(n int) string { return linear.Many(n, "t=1,") },
	"commas":             func(n int) string { return linear.Many(n, ",") },
	"spaces":             func(n int) string { return linear.Many(n, " ") },
	"long signature":     func(n int) string { return "sha256=" + linear.Many(n, "00") },
	"dots":               func(n int) string { return "Bearer " + linear.Many(n, ".") },
	"long token":         func(n int) string { return "Bearer " + linear.Many(n, "a") + ".b.c" },
	"basic":              func(n int) string { return "Basic " + linear.Many(n, "QUJD") },
}

func TestCostIsLinear(t *testing.T) {
	type m = map[string]any
	var parsers []linear.Parser
	for name, c := range map[string]struct {
		scheme, header string
		settings       m
	}{
		"github":            {"hmac", "X-Hub-Signature-256", m{"preset": "github", "secret": []any{"one", "two"}}},
		"stripe":            {"hmac", "Stripe-Signature", m{"preset": "stripe", "secret": []any{"one", "two"}}},
		"standard-webhooks": {"hmac", "Webhook-Signature", m{"preset": "standard-webhooks", "secret": []any{"whsec_AAAA", "whsec_BBBB"}}},
		"own form":          {"hmac", "X-Sign", m{"header": "X-Sign", "algorithm": "sha256", "encoding": "hex", "secret": "one"}},
		"jwt":               {"jwt", "Authorization", m{"key": "0123456789abcdef0123456789abcdef"}},
		"bearer":            {"bearer", "Authorization", m{"token": "0123456789abcdef"}},
		"basic":             {"basic", "Authorization", m{"user": "a", "password": "b"}},
	} {
		a, err := New(c.scheme, c.settings, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		parsers = append(parsers, linear.Parser{Name: name, Inputs: signatureHeaders, N: 20_000, Parse: func(_ context.Context, s string) {
			r := &http.Request{Header: http.Header{c.header: {s}, "Webhook-Id": {"1"}, "Webhook-Timestamp": {"1"}}}
			_, _ = a.Authenticate(r, []byte("body"))
		}})
	}
	linear.Check(t, parsers)
}
