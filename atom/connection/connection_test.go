package connection

import (
	"strings"
	"testing"

	"valence/internal/fault"
	"valence/internal/mask"
)

// TestFailuresAreMasked checks every text that another system can put into a
// failure.
func TestFailuresAreMasked(t *testing.T) {
	const secret = "s3cret-value"
	set := &mask.Set{}
	set.Add(secret)
	text := "the server says " + secret
	f := &fault.Failure{
		Message: text, Body: []byte(text), Detail: []byte(`{"got":"` + secret + `"}`), Problems: []fault.Violation{{Detail: text}},
	}
	f.Cause = &fault.Failure{Message: text}
	got := masked(f, set)
	for name, masked := range map[string]string{
		"message": got.Message, "body": string(got.Body), "detail": string(got.Detail), "problem": got.Problems[0].Detail,
		"cause": got.Cause.(*fault.Failure).Message,
	} {
		if strings.Contains(masked, secret) || !strings.Contains(masked, mask.Text) {
			t.Errorf("%s: got %q, want the secret masked", name, masked)
		}
	}
	if f.Message != text || f.Problems[0].Detail != text {
		t.Error("the original failure changed")
	}
}
