package loader

import (
	"fmt"

	"valence/internal/budget"
	"valence/processes"
)

// Limits bound the cost of loading a project that somebody else wrote. The zero
// value has no limits besides those of every project.
type Limits struct {
	Values int           // keys, items and lines of all files; 0: no limit
	Memory *budget.Share // charged while the project is loaded; nil: no limit
}

// valueSize is about the memory of one parsed and checked YAML value.
const valueSize = 512

// TooManyValuesError reports that a project has more values than are allowed.
type TooManyValuesError struct{ Values, Limit int }

func (e *TooManyValuesError) Error() string {
	return fmt.Sprintf("the project has about %d values, the maximum is %d", e.Values, e.Limit)
}

// reserve checks the number of values of the files before anything is parsed,
// and reserves the memory that they need. The caller calls release.
func (l Limits) reserve(files []processes.File) (release func(), err error) {
	values, bytes := 0, 0
	for _, f := range files {
		values += countValues(f.Content)
		bytes += len(f.Content)
	}
	if l.Values > 0 && values > l.Values {
		return nil, &TooManyValuesError{values, l.Values}
	}
	n := values*valueSize + bytes
	if err := l.Memory.Reserve(n); err != nil {
		return nil, err
	}
	return func() { l.Memory.Return(n) }, nil
}

// countValues returns an upper bound of the YAML values in a text: each but the
// first follows one of these bytes.
func countValues(text []byte) int {
	n := 1
	for _, c := range text {
		switch c {
		case ',', ':', '\n', '\r', '[', '{', '-', '?':
			n++
		}
	}
	return n
}
