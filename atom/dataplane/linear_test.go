package dataplane

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"valence/atom"
	"valence/internal/document"
	"valence/internal/test/linear"
)

// part is one part of a multipart body.
func part(headers, content string) string {
	return "--b\r\n" + headers + "\r\n\r\n" + content + "\r\n"
}

// multiparts are bodies with the boundary b.
var multiparts = map[string]func(n int) string{
	"parts": func(n int) string {
		return linear.Many(n/20, part(`Content-Disposition: form-data; name="f%d"`, "x")) + "--b--"
	},
	"repeated names": func(n int) string {
		return linear.Many(n/20, part(`Content-Disposition: form-data; name="f"`, "x")) + "--b--"
	},
	"long content": func(n int) string {
		return part(`Content-Disposition: form-data; name="f"`, linear.Many(n*4, "x")) + "--b--"
	},
	"almost boundaries": func(n int) string {
		return part(`Content-Disposition: form-data; name="f"`, linear.Many(n, "\r\n--a")) + "--b--"
	},
	"half boundaries": func(n int) string { return part(`Content-Disposition: form-data; name="f"`, linear.Many(n, "\r\n-")) },
	"files of bytes": func(n int) string {
		return part(`Content-Disposition: form-data; name="f"; filename="a"`, linear.Many(n*4, "\xff")) + "--b--"
	},
	"headers of a part": func(n int) string {
		return part(`Content-Disposition: form-data; name="f"`+linear.Many(n/20, "\r\nX-%d: y"), "x") + "--b--"
	},
	"long name": func(n int) string {
		return part(`Content-Disposition: form-data; name="`+linear.Many(n, "n")+`"`, "x") + "--b--"
	},
	"text before the first part": func(n int) string {
		return linear.Many(n, "x\r\n") + part(`Content-Disposition: form-data; name="f"`, "x") + "--b--"
	},
	"no end": func(n int) string { return part(`Content-Disposition: form-data; name="f"`, linear.Many(n*4, "--b")) },
}

// headers are values of one header. The server limits all headers to 64 KiB, so
// these are larger than any that arrive.
var headers = map[string]func(n int) string{
	"commas":         func(n int) string { return linear.Many(n, ",") },
	"semicolons":     func(n int) string { return linear.Many(n, ";") },
	"preferences":    func(n int) string { return linear.Many(n, "wait=%d, respond-async,") },
	"parameters":     func(n int) string { return "a/b" + linear.Many(n, ";p%d=v") },
	"quoted":         func(n int) string { return `a/b;p="` + linear.Many(n, `\"`) + `"` },
	"open quote":     func(n int) string { return `a/b;p="` + linear.Many(n, "x") },
	"continuations":  func(n int) string { return "a/b" + linear.Many(n, ";p*%d=v") },
	"spaces":         func(n int) string { return linear.Many(n, " ") + "x" },
	"media types":    func(n int) string { return linear.Many(n, "text/a%d;q=0.1, ") },
	"long token":     func(n int) string { return linear.Many(n, "x") },
	"percent escape": func(n int) string { return "last_event_id=" + linear.Many(n, "%%41") },
}

// eventTexts are the data of events.
var eventTexts = map[string]func(n int) string{
	"lines":           func(n int) string { return linear.Many(n, "x\n") },
	"carriage return": func(n int) string { return linear.Many(n, "\r") },
	"mixed ends":      func(n int) string { return linear.Many(n, "\r\n\n\r") },
	"long line":       func(n int) string { return linear.Many(n, "x") },
}

func TestCostIsLinear(t *testing.T) {
	const n = 20_000
	header := func(name, value string) *http.Request { return &http.Request{Header: http.Header{name: {value}}} }
	linear.Check(t, []linear.Parser{
		{Name: "multipart", Inputs: multiparts, N: n, Parse: func(ctx context.Context, s string) { _, _ = multipartToJSON(ctx, "b", []byte(s), "") }},
		{Name: "Content-Type", Inputs: headers, N: n, Parse: func(_ context.Context, s string) { _, _ = parseContentType(http.Header{"Content-Type": {s}}) }},
		{Name: "Prefer", Inputs: headers, N: n, Parse: func(_ context.Context, s string) { parsePrefer([]string{s}) }},
		{Name: "repeated Prefer", Inputs: headers, N: n, Parse: func(_ context.Context, s string) { parsePrefer(strings.SplitAfter(s, ",")) }},
		{Name: "Accept", Inputs: headers, N: n, Parse: func(_ context.Context, s string) { wantsEvents(header("Accept", s)) }},
		{Name: "Correlation-Id", Inputs: headers, N: n, Parse: func(_ context.Context, s string) { correlation(http.Header{"Correlation-Id": {s}}) }},
		{Name: "Traceparent", Inputs: headers, N: n, Parse: func(_ context.Context, s string) { traceOf(http.Header{"Traceparent": {s}}) }},
		{Name: "event stream", Inputs: eventTexts, N: n, Parse: func(_ context.Context, s string) {
			appendEvent(nil, atom.Event{ID: "1", Name: "progress", Data: []byte(s)})
		}},
		{Name: "WebSocket", Inputs: eventTexts, N: n, Parse: func(_ context.Context, s string) {
			webSocketMessage(atom.Event{ID: "1", Name: "progress", Data: document.AppendString(nil, s)})
		}},
	})
}
