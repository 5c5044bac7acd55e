package steps

import (
	"net/http"
	"testing"

	"valence/internal/document"
)

func TestHeaders(t *testing.T) {
	h := http.Header{"X-One": {"a, b"}, "X-Two": {"a", "b"}, "X-Empty": {""}, "X-Old": {"M\xfcller"}, "X-New": {"Müller"}, "Hidden": {"s"}}
	const want = `{"x-empty":"","x-new":"Müller","x-old":"Müller","x-one":"a, b","x-two":["a","b"]}`
	if got := string(document.AppendJSON(nil, Headers(h, []string{"Hidden"}))); got != want {
		t.Errorf("Headers: got %s, want %s", got, want)
	}
	if got := string(AppendHeaders(nil, h, []string{"Hidden"})); got != want {
		t.Errorf("AppendHeaders: got %s, want %s", got, want)
	}
}
