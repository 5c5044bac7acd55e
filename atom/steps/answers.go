package steps

import (
	"encoding/json"
	"strings"

	"valence/internal/expression"
	"valence/processes"
)

// Answer is the certain part of the response of a step that ends the wait of a
// caller.
type Answer struct {
	Status int  // 0: computed
	Thrown bool // a failure, which the caller gets as a problem document
	// Body is the JSON of the reply.
	Body *expression.Shape
	// ContentType is the header that the reply sets; "" if it sets none, and
	// "*/*" if the value is computed.
	ContentType string
}

// AnswerOf returns the answer of a step, and false if it is of another kind.
func AnswerOf(s *processes.Step) (Answer, bool) {
	switch step := s.Settings.(type) {
	case *reply:
		a := Answer{Status: 200, Body: &expression.Shape{}, ContentType: contentTypeOf(step.Headers)}
		if step.Body != nil {
			a.Body = step.Body.Shape()
		}
		if step.Status != nil {
			a.Status = 0
			if v, constant := step.Status.Constant(); constant {
				a.Status, _ = intOf(v)
			}
		}
		return a, true
	case *throw:
		if step.Status == 0 {
			return Answer{Status: 500, Thrown: true}, true
		}
		return Answer{Status: step.Status, Thrown: true}, true
	}
	return Answer{}, false
}

func contentTypeOf(headers *expression.Template) string {
	if headers == nil {
		return ""
	}
	shape := headers.Shape()
	if shape.Type != expression.TypeObject || shape.Open {
		return "*/*"
	}
	for _, f := range shape.Fields {
		if !strings.EqualFold(f.Name, "Content-Type") {
			continue
		}
		var text string
		if f.Optional || json.Unmarshal(f.Value.Fixed, &text) != nil {
			return "*/*"
		}
		return text
	}
	return ""
}
