package bench

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"valence/internal/test/bench/baseline/order"
)

// pause separates two probes, so that each one finds an idle machine.
const pause = 10 * time.Millisecond

// alone measures single acknowledgements on an idle atom. The baselines are the
// same request with only a file, and a bare append without HTTP.
func (b *bench) alone(ctx context.Context) ([]Row, error) {
	c := &contest{title: "Acknowledgement alone on an idle atom, p50", baseline: "append and fdatasync over HTTP", unit: "ms", must: 1.5, aim: 1.1,
		program: []string{"appender"}, path: "/", atomPath: "/take"}
	c.measure = func(ctx context.Context, _ *program, url, _ string) (float64, error) {
		client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		n := 0
		return b.probe(func() error {
			n++
			_, err := post(ctx, client, url, order.New(fmt.Sprintf("alone-%d", n)))
			return err
		})
	}
	row, err := b.duel(ctx, c)
	if err != nil {
		return nil, err
	}
	row.Least = true
	bare := Row{Workload: "The same against the bare append, without HTTP", Baseline: "append and fdatasync", Unit: "ms", Atom: row.Atom, Least: true}
	var bases []float64
	for i := range b.Rounds {
		v, err := b.appendAlone()
		if err != nil {
			return nil, err
		}
		bases = append(bases, v)
		bare.Rounds = append(bare.Rounds, [2]float64{v, row.Rounds[i][1]})
	}
	bare.Base = median(bases)
	return []Row{row, bare}, nil
}

// appendAlone returns the median time to append one order and flush it, in
// milliseconds.
func (b *bench) appendAlone() (float64, error) {
	path := filepath.Join(b.data, "alone.log")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return 0, err
	}
	defer os.Remove(path)
	defer f.Close()
	body := order.New("alone")
	return b.probe(func() error {
		if _, err := f.Write(body); err != nil {
			return err
		}
		return syscall.Fdatasync(int(f.Fd()))
	})
}

// probe returns the median duration of action in milliseconds.
func (b *bench) probe(action func() error) (float64, error) {
	var times []float64
	for range int(b.Duration / pause / 2) {
		begin := time.Now()
		if err := action(); err != nil {
			return 0, err
		}
		times = append(times, float64(time.Since(begin).Microseconds())/1000)
		time.Sleep(pause)
	}
	slices.Sort(times)
	return median(times), nil
}
