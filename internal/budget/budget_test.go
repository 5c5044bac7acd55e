package budget

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

func TestShare(t *testing.T) {
	p := NewPool(100)
	var a, b Share
	a.Open(p)
	b.Open(p)
	steps := []struct {
		share *Share
		n     int
		want  error
		used  int64
	}{
		{&a, 60, nil, 60}, {&b, 40, nil, 100}, {&b, 1, ErrBusy, 100}, {&a, 41, ErrTooLarge, 100}, {&a, 0, nil, 100},
	}
	for i, s := range steps {
		if err := s.share.Reserve(s.n); !errors.Is(err, s.want) || p.Used() != s.used {
			t.Errorf("step %d: got %v and %d bytes in use, want %v and %d", i, err, p.Used(), s.want, s.used)
		}
	}
	a.Return(10)
	if p.Used() != 90 || p.Refused() != 2 {
		t.Errorf("got %d bytes in use and %d refusals, want 90 and 2", p.Used(), p.Refused())
	}
	a.Close()
	a.Close()
	b.Close()
	if p.Used() != 0 {
		t.Errorf("got %d bytes in use after closing, want 0", p.Used())
	}
	var none *Share
	if err := none.Reserve(1 << 40); err != nil {
		t.Errorf("got %v for no share, want nil", err)
	}
	none.Return(1)
	none.Close()
}

func TestShareIsSafeForConcurrentUse(t *testing.T) {
	p := NewPool(1000)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			var s Share
			s.Open(p)
			defer s.Close()
			for range 1000 {
				if s.Reserve(30) == nil {
					s.Return(10)
				}
				if n := p.Used(); n > 1000+50*30 {
					t.Errorf("got %d bytes in use, want at most the limit and reservations being refused", n)
				}
			}
		})
	}
	wg.Wait()
	if p.Used() != 0 {
		t.Errorf("got %d bytes in use, want 0", p.Used())
	}
}

func TestReadAll(t *testing.T) {
	text := strings.Repeat("0123456789", 5000)
	p := NewPool(200_000)
	for _, test := range []struct {
		name  string
		r     io.Reader
		limit int64
		want  int
		err   error
	}{
		{"below the limit", strings.NewReader(text), 60_000, 50_000, nil},
		{"at the limit", strings.NewReader(text), 50_000, 50_000, nil},
		{"above the limit", strings.NewReader(text), 49_999, 50_000, nil},
		{"far above the limit", strings.NewReader(text), 10, 11, nil},
		{"empty", strings.NewReader(""), 10, 0, nil},
		{"byte by byte", iotest.OneByteReader(strings.NewReader(text)), 60_000, 50_000, nil},
		{"too large for the pool", bytes.NewReader(make([]byte, 300_000)), 1 << 20, 0, ErrTooLarge},
		{"a broken reader", iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(text))), 60_000, 0, iotest.ErrTimeout},
	} {
		var s Share
		s.Open(p)
		b, err := s.ReadAll(test.r, test.limit)
		if len(b) != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s: got %d bytes, %v; want %d, %v", test.name, len(b), err, test.want, test.err)
		}
		if held := s.held.Load(); held != int64(cap(b)) {
			t.Errorf("%s: got %d bytes reserved, want %d", test.name, held, cap(b))
		}
		s.Close()
	}
}

func TestFrom(t *testing.T) {
	var s Share
	if got := From(With(t.Context(), &s)); got != &s {
		t.Errorf("got %p, want %p", got, &s)
	}
	for _, ctx := range []context.Context{nil, t.Context()} {
		if got := From(ctx); got != nil {
			t.Errorf("got %p, want nil", got)
		}
	}
}
