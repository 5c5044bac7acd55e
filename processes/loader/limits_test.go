package loader

import (
	"context"
	"errors"
	"strings"
	"testing"

	"valence/internal/budget"
	"valence/processes"
)

func TestLoadWithin(t *testing.T) {
	const text = "process: p\nsteps:\n  - log: x\n"
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		name   string
		ctx    context.Context
		values int
		memory int64
		want   error
	}{
		{"no limits", t.Context(), 0, 0, nil},
		{"enough", t.Context(), 100, 1 << 20, nil},
		{"too many values", t.Context(), 3, 1 << 20, &TooManyValuesError{}},
		{"too little memory", t.Context(), 100, 100, budget.ErrTooLarge},
		{"no time", ended, 100, 1 << 20, context.Canceled},
	} {
		t.Run(test.name, func(t *testing.T) {
			pool := budget.NewPool(test.memory)
			var share budget.Share
			share.Open(pool)
			p, problems, err := LoadWithin(test.ctx, []processes.File{{Name: "a.yaml", Content: []byte(text)}}, testCatalog(), Limits{Values: test.values, Memory: &share})
			var many *TooManyValuesError
			if _, wantMany := test.want.(*TooManyValuesError); wantMany {
				if !errors.As(err, &many) {
					t.Errorf("got %v, want too many values", err)
				}
			} else if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if test.want == nil && (p.Processes["p"] == nil || problems.HasErrors()) {
				t.Errorf("got %v and %v, want the process", p, problems)
			}
			if pool.Used() != 0 {
				t.Errorf("got %d bytes reserved afterwards, want 0", pool.Used())
			}
		})
	}
}

// The count of values is never less than the values of a text.
func TestCountValues(t *testing.T) {
	for text, values := range map[string]int{
		"a: 1":                       2,
		"[1,2,3]":                    4,
		"- - - x":                    4,
		"{a: 1, b: [2]}":             6,
		"? a\n: b":                   3,
		strings.Repeat("k: v\n", 10): 21,
	} {
		if got := countValues([]byte(text)); got < values-1 {
			t.Errorf("%q: got %d, want at least %d", text, got, values-1)
		}
	}
}
