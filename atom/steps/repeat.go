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
	doc: "Runs steps again until a condition holds, at most `max` times. The document and the variables of one round are those of the next. " +
		"Where `max` is reached, the process goes on: check the condition behind it if that matters.",
	sample: "- repeat:\n    max: 3\n    until: ${vars.paid}\n    steps:\n      - set: { paid: \"${true}\" }\n",
	flow:   processes.Loop,
}, []spec.Field{
	spec.Object("repeat", func(s *repeat) *repeatSettings { return &s.Settings }, "What to repeat.",
		spec.Int("max", func(s *repeatSettings) *int { return &s.Max }, "The most rounds.").Min(1).Max(10000).Required(),
		spec.Expr("until", func(s *repeatSettings) **expression.Expr { return &s.Until }, "Looked at after each round.").Bool().Required(),
		spec.Steps("steps", func(s *repeatSettings) *processes.Block { return &s.Steps }, "The steps of a round.").Required(),
	).Required(),
}, nil)

// Repeats tells how many rounds there are at most.
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
