// Package budget bounds the memory that requests hold together.
//
// A Pool is the limit of an atom and a Share the part of one request. The share
// travels in the context of the request through reading, decompression,
// conversion and the calls of a synchronous execution. Each of them reserves
// bytes before it allocates them. Work without a share is not limited.
package budget

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"valence/internal/fault"
)

// ErrBusy reports that other requests hold the memory. The request can be sent
// again later.
var ErrBusy = errors.New("requests in progress use all memory for requests")

// ErrTooLarge reports that a request needs more than the whole pool.
var ErrTooLarge = errors.New("the request needs more memory than all requests may use")

// Pool limits the bytes of all shares. It is safe for concurrent use.
//
// Bytes that were returned are garbage until the collector has run. The collector
// lets garbage grow to several times the live heap, so the pool runs it itself
// when returned bytes amount to the limit.
type Pool struct {
	limit   int64
	used    atomic.Int64
	refused atomic.Int64
	garbage garbage
}

// NewPool returns a pool of limit bytes. A limit of 0 means no limit.
func NewPool(limit int64) *Pool { return &Pool{limit: limit} }

// Limit returns the size of the pool, 0 if it is unlimited.
func (p *Pool) Limit() int64 { return p.limit }

// Used returns the bytes held by all shares.
func (p *Pool) Used() int64 { return p.used.Load() }

// Refused returns how many reservations have failed.
func (p *Pool) Refused() int64 { return p.refused.Load() }

// Share holds the bytes of one request. It is safe for concurrent use. A nil
// Share, and one without a pool, reserves without limit.
type Share struct {
	pool *Pool
	held atomic.Int64
}

// Open attaches an unused share to the pool. p may be nil.
func (s *Share) Open(p *Pool) { s.pool = p }

// Reserve adds n bytes to the share. It returns ErrBusy or ErrTooLarge, and adds
// nothing, if the pool has no room.
func (s *Share) Reserve(n int) error {
	if s == nil || s.pool == nil || n <= 0 {
		return nil
	}
	p, add := s.pool, int64(n)
	if n >= minCollect {
		p.garbage.collect(p.limit)
	}
	if used := p.used.Add(add); p.limit == 0 || used <= p.limit {
		s.held.Add(add)
		return nil
	}
	p.used.Add(-add)
	p.refused.Add(1)
	if s.held.Load()+add > p.limit {
		return ErrTooLarge
	}
	return ErrBusy
}

// Return frees n bytes of the share.
func (s *Share) Return(n int) {
	if s == nil || s.pool == nil || n <= 0 {
		return
	}
	s.held.Add(-int64(n))
	s.pool.used.Add(-int64(n))
	s.pool.garbage.bytes.Add(int64(n))
}

// Close frees all bytes of the share.
func (s *Share) Close() {
	if s == nil || s.pool == nil {
		return
	}
	if n := s.held.Swap(0); n > 0 {
		s.pool.used.Add(-n)
		s.pool.garbage.bytes.Add(n)
	}
}

// Grow returns a copy of b with at least twice its capacity, but at most limit,
// and reserves the difference. While it copies, both count.
func (s *Share) Grow(b []byte, limit int64) ([]byte, error) {
	size := int(min(max(2*int64(cap(b)), minBuffer), limit))
	if err := s.Reserve(size); err != nil {
		return nil, err
	}
	grown := make([]byte, len(b), size)
	copy(grown, b)
	s.Return(cap(b))
	return grown, nil
}

const minBuffer = 4 << 10

// ReadAll reads r to its end and reserves the memory. It returns the first
// limit+1 bytes of a longer input. After an error nothing stays reserved.
func (s *Share) ReadAll(r io.Reader, limit int64) ([]byte, error) {
	var b []byte
	for {
		if len(b) == cap(b) {
			if int64(len(b)) > limit {
				return b, nil
			}
			grown, err := s.Grow(b, limit+1)
			if err != nil {
				s.Return(cap(b))
				return nil, err
			}
			b = grown
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			s.Return(cap(b))
			return nil, err
		}
	}
}

type contextKey struct{}

// ContextKey is the key of a *Share in a context, for contexts that carry one
// without With.
var ContextKey any = contextKey{}

// With returns a context that carries a share.
func With(ctx context.Context, s *Share) context.Context {
	return context.WithValue(ctx, ContextKey, s)
}

// From returns the share of a context, or nil. ctx may be nil.
func From(ctx context.Context) *Share {
	if ctx == nil {
		return nil
	}
	s, _ := ctx.Value(ContextKey).(*Share)
	return s
}

// Exhausted reports whether an error is ErrBusy or ErrTooLarge.
func Exhausted(err error) bool { return errors.Is(err, ErrBusy) || errors.Is(err, ErrTooLarge) }

// retryAfter is how long a refused request should wait.
const retryAfter = 5 * time.Second

// Failure returns the failure of an execution for an error of work that stopped
// because its context ended or its budget was used up. It returns nil for any
// other error.
func Failure(err error) *fault.Failure {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &fault.Failure{Code: fault.CodeLimit, Message: "the execution ran out of time while converting a document", Cause: err}
	case errors.Is(err, ErrBusy):
		return &fault.Failure{Code: fault.CodeUnavailable, Source: fault.FromAtom, Message: err.Error(), Retryable: true, RetryAfter: retryAfter, Cause: err}
	case errors.Is(err, ErrTooLarge):
		return &fault.Failure{Code: fault.CodeTooLarge, Source: fault.FromAtom, Message: err.Error(), Cause: err}
	}
	return nil
}
