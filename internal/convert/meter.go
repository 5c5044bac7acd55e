package convert

import (
	"context"
	"strconv"

	"valence/internal/budget"
)

// The size of a conversion's output. Some inputs describe an output whose size
// is quadratic in theirs: a table with a long column name and many short rows, or
// a list of objects with different keys.
const (
	// MaxGrowth is how many times larger than its input an output may be.
	MaxGrowth = 64
	// FreeGrowth is the size up to which MaxGrowth does not apply.
	FreeGrowth = 1 << 20
)

// meterStep is the number of bytes between two checks of a meter.
const meterStep = 64 << 10

// meter charges one conversion. It checks the context, reserves the memory in
// the budget of the request and limits the output.
type meter struct {
	ctx     context.Context
	share   *budget.Share
	most    int
	scratch int // bytes held besides the output
	held    int
	next    int
}

// newMeter returns the meter of a conversion of size bytes. ctx may be nil.
func newMeter(ctx context.Context, size int) *meter {
	return &meter{ctx: ctx, share: budget.From(ctx), most: FreeGrowth + MaxGrowth*size}
}

// wrote charges for an output that has reached n bytes.
func (m *meter) wrote(n int) error {
	if n+m.scratch < m.next {
		return nil
	}
	if n > m.most {
		return &SyntaxError{Msg: "the result would be more than " + strconv.Itoa(MaxGrowth) + " times as large as the input"}
	}
	return m.reserve(n + m.scratch)
}

// use charges for n more bytes of intermediate data.
func (m *meter) use(n int) error {
	if m.scratch += n; m.scratch < m.next {
		return nil
	}
	return m.reserve(m.scratch)
}

func (m *meter) reserve(n int) error {
	if m.ctx != nil && m.ctx.Err() != nil {
		return m.ctx.Err()
	}
	if n > m.held {
		if err := m.share.Reserve(n + meterStep - m.held); err != nil {
			return err
		}
		m.held = n + meterStep
	}
	m.next = n + meterStep
	return nil
}

// finish returns the reservation. The caller decides how long the result counts.
func (m *meter) finish() { m.share.Return(m.held) }
