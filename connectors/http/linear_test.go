package http

import (
	"context"
	nethttp "net/http"
	"net/url"
	"testing"

	"valence/internal/test/linear"
)

// links are values of the Link header and references in documents.
var links = map[string]func(n int) string{
	"links":        func(n int) string { return linear.Many(n, "</p%d>; rel=prev, ") },
	"parameters":   func(n int) string { return "</p>" + linear.Many(n, "; p%d=v") },
	"relations":    func(n int) string { return `</p>; rel="` + linear.Many(n, "r%d ") + `"` },
	"quotes":       func(n int) string { return `</p>; title="` + linear.Many(n, `\"`) + `"` },
	"open quote":   func(n int) string { return `</p>; title="` + linear.Many(n, "x") },
	"open bracket": func(n int) string { return linear.Many(n, "<") },
	"commas":       func(n int) string { return linear.Many(n, ", ") },
	"anchors":      func(n int) string { return linear.Many(n, `</p>; anchor="/a%d"; rel=next, `) },
	"escapes":      func(n int) string { return "</" + linear.Many(n, "%% ") + ">; rel=next" },
	"dot segments": func(n int) string { return "</" + linear.Many(n, "a/../") + ">; rel=next" },
}

func TestCostIsLinear(t *testing.T) {
	request, err := url.Parse("https://shop.example/orders?page=1")
	if err != nil {
		t.Fatal(err)
	}
	linear.Check(t, []linear.Parser{
		{Name: "Link", Inputs: links, N: 5000, Parse: func(_ context.Context, s string) {
			_, _ = nextLink(nethttp.Header{"Link": {s}}, request)
		}},
		{Name: "references", Inputs: links, N: 5000, Parse: func(_ context.Context, s string) { _, _ = resolve(request, s); encodeReference(s) }},
	})
}
