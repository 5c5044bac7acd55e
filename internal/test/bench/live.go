package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"valence/internal/test/bench/baseline/order"
)

// saves is how often a file is saved in each round.
const saves = 20

// liveReload measures the time from saving a file of a project that runs with
// --watch until the first response of the new version.
func (b *bench) liveReload(ctx context.Context) (_ Row, err error) {
	row := Row{Workload: "A change is saved, until run --watch responds with it, median", Unit: "ms", Must: 200, Least: true,
		Notes: []string{fmt.Sprintf("a project of 40 processes in one file of which one changes, %d times a round", saves)}}
	project, err := b.written(40)
	if err != nil {
		return row, err
	}
	p, err := b.watched(ctx, project)
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, p.discard()) }()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	file := filepath.Join(project, "project.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return row, err
	}
	body, version := order.New("live-1"), 0
	if _, err := awaitVersion(ctx, client, p.url, body, "orderId"); err != nil {
		return row, err
	}
	var medians []float64
	for range b.Rounds {
		var times []float64
		for range saves {
			version++
			name := fmt.Sprintf("order_%d", version)
			if err := os.WriteFile(file, []byte(strings.Replace(string(text), "orderId", name, 1)), 0o600); err != nil {
				return row, err
			}
			took, err := awaitVersion(ctx, client, p.url, body, name)
			if err != nil {
				return row, err
			}
			times = append(times, took)
		}
		medians = append(medians, median(times))
		row.Rounds = append(row.Rounds, [2]float64{0, median(times)})
	}
	row.Atom = median(medians)
	return row, nil
}

// watched starts an atom that reloads its project.
func (b *bench) watched(ctx context.Context, project string) (*program, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	admin, err := freeAddress()
	if err != nil {
		return nil, err
	}
	data, err := os.MkdirTemp(b.data, "atom-")
	if err != nil {
		return nil, err
	}
	return b.launch(ctx, "valence", address, data,
		[]string{b.valence, "run", project, "--watch", "--listen", address, "--admin", admin, "--data", data, "--log-level", "warn"},
		[]string{"SINK_URL=http://127.0.0.1:1"})
}

// awaitVersion posts orders until a response has a field, and returns how long
// that took, in milliseconds.
func awaitVersion(ctx context.Context, client *http.Client, url string, body []byte, field string) (float64, error) {
	begin := time.Now()
	for deadline := begin.Add(30 * time.Second); time.Now().Before(deadline); {
		answer, err := post(ctx, client, url+"/answer/0", body)
		if err == nil && bytes.Contains(answer, []byte(`"`+field+`"`)) {
			return float64(time.Since(begin).Microseconds()) / 1000, nil
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return 0, fmt.Errorf("no response has the field %s", field)
}
