package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// historied lists the workloads that a long history must not slow down.
var historied = []struct {
	title, unit, path string
}{
	{"W1 request/reply", "requests/s", "/map"},
	{"W2 acknowledged", "acknowledged/s", "/take"},
}

// history compares an atom with many finished executions with a new one. The
// executions are real: answered and recorded requests.
func (b *bench) history(ctx context.Context) (rows []Row, err error) {
	sink, old, discard, err := b.site(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, discard()) }()
	begin := time.Now()
	kept, err := b.record(ctx, old, b.History)
	if err != nil {
		return nil, err
	}
	old.stop()
	size, err := folderSize(old.data)
	if err != nil {
		return nil, err
	}
	b.say("  %d recorded after %v, %.1f GiB", kept, time.Since(begin).Round(time.Second), size)

	for _, h := range historied {
		rows = append(rows, Row{Workload: figure(float64(b.History)) + " finished executions in history, " + h.title,
			Baseline: "none in history", Unit: h.unit, Must: 0.9, Aim: 1})
	}
	bases, atoms := make([][]float64, len(rows)), make([][]float64, len(rows))
	var starts, sizes []float64
	for round := range b.Rounds {
		pairs := make([][2]float64, len(rows))
		for turn := range 2 {
			which, data := (turn+round)%2, ""
			if which == 1 {
				data = old.data
			}
			figures, took, mem, err := b.withHistory(ctx, data, sink)
			if err != nil {
				return nil, err
			}
			if which == 1 {
				starts, sizes = append(starts, took), append(sizes, mem)
			}
			for i, v := range figures {
				pairs[i][which] = v
			}
		}
		for i, pair := range pairs {
			b.say("  round %d, %s: %s of %s (%.2f)", round+1, historied[i].title, figure(pair[1]), figure(pair[0]), pair[1]/pair[0])
			bases[i], atoms[i] = append(bases[i], pair[0]), append(atoms[i], pair[1])
			rows[i].Rounds = append(rows[i].Rounds, pair)
		}
	}
	for i := range rows {
		rows[i].Base, rows[i].Atom = median(bases[i]), median(atoms[i])
	}
	rows[0].Notes = []string{fmt.Sprintf("%s executions in %.1f GiB; with them the atom was ready after %s ms and took %s MiB after the load",
		figure(float64(kept)), size, figure(median(starts)), figure(median(sizes)))}
	return rows, nil
}

// withHistory measures one atom on new data or on the given folder. It also
// returns the start-up time in milliseconds and the memory afterwards.
func (b *bench) withHistory(ctx context.Context, data string, sink *program) (figures []float64, took, mem float64, err error) {
	p, err := b.atom(ctx, b.project(), data, sink.url)
	if err != nil {
		return nil, 0, 0, err
	}
	took = float64(time.Since(p.started).Microseconds()) / 1000
	defer func() {
		if data != "" {
			p.stop()
			return
		}
		err = errors.Join(err, p.discard())
	}()
	for _, h := range historied {
		if _, err := b.drive(ctx, p.url+h.path, "order", b.Connections, b.Warmup); err != nil {
			return nil, 0, 0, err
		}
		l, err := b.drive(ctx, p.url+h.path, "order", b.Connections, b.Duration)
		if err != nil {
			return nil, 0, 0, fmt.Errorf("%w\n%s", err, p.tail())
		}
		figures = append(figures, l.rate())
	}
	mem, _, err = p.memory()
	return figures, took, mem, err
}

// record sends requests until the history holds n of them.
func (b *bench) record(ctx context.Context, p *program, n int) (int, error) {
	asked, rate := 0, 0.0
	for {
		dropped, err := p.metric(ctx, "valence_records_dropped_total")
		if err != nil {
			return 0, err
		}
		missing := n + int(dropped) - asked
		if missing <= 0 {
			return asked - int(dropped), nil
		}
		l, err := b.drive(ctx, p.url+"/map", "order", b.Connections, enough(missing, rate))
		if err != nil {
			return 0, fmt.Errorf("%w\n%s", err, p.tail())
		}
		asked, rate = asked+int(l.Requests), l.rate()
		b.say("  %d of %d", asked-int(dropped), n)
	}
}

// metric returns one metric of an atom, summed over its labels.
func (p *program) metric(ctx context.Context, name string) (float64, error) {
	token, err := os.ReadFile(filepath.Join(p.data, "admin.token"))
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.admin+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("/metrics answered %s", resp.Status)
	}
	sum, found := 0.0, false
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		v, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("/metrics: %s: %w", lines.Text(), err)
		}
		sum, found = sum+v, true
	}
	if !found && lines.Err() == nil {
		return 0, fmt.Errorf("/metrics has no %s", name)
	}
	return sum, lines.Err()
}

// folderSize returns the size of a folder in GiB.
func folderSize(folder string) (float64, error) {
	var sum int64
	err := filepath.WalkDir(folder, func(_ string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		sum += info.Size()
		return nil
	})
	return float64(sum) / (1 << 30), err
}
