package steps

import (
	"strconv"

	"valence/internal/expression"
	"valence/internal/spec"
	"valence/processes"
)

type repeat struct{ Settings repeatSettings }

type repeatSettings struct {
	Max   int
	Until *expression.Expr
	Steps processes.Block
}

var _ = define[repeat]("repeat", kind{
	doc: "Repeats steps until a condition is true, at most `max` times. Each iteration starts with the document and the variables of the previous " +
		"one. If `max` is reached, the process continues; check the condition after the loop if that matters.",
	sample: "- repeat:\n    max: 3\n    until: ${vars.paid}\n    steps:\n      - set: { paid: \"${true}\" }\n",
	flow:   processes.Loop,
}, []spec.Field{
	spec.Object("repeat", func(s *repeat) *repeatSettings { return &s.Settings }, "The steps to repeat and when to stop.",
		spec.Int("max", func(s *repeatSettings) *int { return &s.Max }, "Maximum number of iterations.").Min(1).Max(10000).Required(),
		spec.Expr("until", func(s *repeatSettings) **expression.Expr { return &s.Until }, "Condition to stop, evaluated after each iteration.").Bool().Required(),
		spec.Steps("steps", func(s *repeatSettings) *processes.Block { return &s.Steps }, "Steps of one iteration.").Required(),
	).Required(),
}, nil)

// Repeats returns the maximum number of rounds.
func (s *repeat) Repeats() processes.Repetition {
	return processes.Repetition{Max: s.Settings.Max}
}

func (s *repeat) Run(f *Frame) error {
	iter := f.iter
	defer func() { f.iter = iter }()
	for round := range s.Settings.Max {
		f.iter = iter + "[" + strconv.Itoa(round) + "]"
		if err := f.Run(s.Settings.Steps); err != nil {
			return err
		}
		done, err := s.Settings.Until.Bool(&f.env)
		if err != nil || done {
			return err
		}
	}
	return nil
}
