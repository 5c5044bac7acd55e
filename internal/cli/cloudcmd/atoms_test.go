package cloudcmd

import "testing"

func TestFirstProblem(t *testing.T) {
	for health, want := range map[string]string{"": "", "ok": "ok", "a: broken": "a: broken", "a: x\nb: y\nc: z": "a: x (and 2 more: --json)"} {
		if got := firstProblem(health); got != want {
			t.Errorf("%q: got %q, want %q", health, got, want)
		}
	}
}
