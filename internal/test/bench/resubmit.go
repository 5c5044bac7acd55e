package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"valence/internal/test/bench/baseline/order"
)

// resubmission compares the slowest acknowledgements of an idle atom with those
// during a resubmission of all failed executions at the default rate.
func (b *bench) resubmission(ctx context.Context) (_ []Row, err error) {
	_, p, discard, err := b.site(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, discard()) }()
	for filled, rate := 0, 0.0; filled < b.Failed; {
		l, err := b.drive(ctx, p.url+"/fail", "order", b.Connections, enough(b.Failed-filled, rate))
		if err != nil {
			return nil, fmt.Errorf("%w\n%s", err, p.tail())
		}
		filled, rate = filled+int(l.Requests), l.rate()
	}
	admin := &adminOf{p: p, client: &http.Client{Timeout: time.Minute}}
	defer admin.client.CloseIdleConnections()
	count, err := admin.failures(ctx, b.Failed)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, p.tail())
	}
	row := Row{Workload: "Resubmitting " + figure(float64(b.Failed)) + " failed executions, p99 of an acknowledgement", Baseline: "idle", Unit: "ms", Must: 2, Least: true,
		Notes: []string{fmt.Sprintf("%s had failed; they fail again", figure(float64(count)))}}
	var bases, atoms []float64
	for round := range b.Rounds {
		var pair [2]float64
		if pair[0], err = b.slowest(ctx, p, round); err != nil {
			return nil, err
		}
		id, err := admin.resubmit(ctx)
		if err != nil {
			return nil, err
		}
		if pair[1], err = b.slowest(ctx, p, round); err != nil {
			return nil, err
		}
		done, err := admin.stop(ctx, id)
		if err != nil {
			return nil, err
		}
		b.say("  round %d: %s ms, idle %s ms, %d resubmitted meanwhile", round+1, figure(pair[1]), figure(pair[0]), done)
		bases, atoms, row.Rounds = append(bases, pair[0]), append(atoms, pair[1]), append(row.Rounds, pair)
	}
	row.Base, row.Atom = median(bases), median(atoms)
	return []Row{row}, nil
}

// slowest returns the p99 of acknowledgements, sent one at a time.
func (b *bench) slowest(ctx context.Context, p *program, round int) (float64, error) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	var times []float64
	for end, n := time.Now().Add(2*b.Duration), 0; time.Now().Before(end); n++ {
		begin := time.Now()
		if _, err := post(ctx, client, p.url+"/take", order.New(fmt.Sprintf("slow-%d-%d", round, n))); err != nil {
			return 0, err
		}
		times = append(times, float64(time.Since(begin).Microseconds())/1000)
		time.Sleep(2 * time.Millisecond)
	}
	slices.Sort(times)
	return times[len(times)*99/100], nil
}

// adminOf is a client of an atom's admin API.
type adminOf struct {
	p      *program
	client *http.Client
}

func (a *adminOf) call(ctx context.Context, method, path string, body, into any) error {
	token, err := os.ReadFile(filepath.Join(a.p.data, "admin.token"))
	if err != nil {
		return err
	}
	var sent []byte
	if body != nil {
		if sent, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, a.p.admin+"/api/v1"+path, bytes.NewReader(sent))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s answered %s: %s", method, path, resp.Status, text)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// failures waits until n executions have failed and returns the count.
func (a *adminOf) failures(ctx context.Context, n int) (count int64, err error) {
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); {
		var list struct {
			Groups []struct {
				Count int64 `json:"count"`
			} `json:"groups"`
		}
		if err := a.call(ctx, http.MethodGet, "/failed/groups", nil, &list); err != nil {
			return 0, err
		}
		before := count
		count = 0
		for _, g := range list.Groups {
			count += g.Count
		}
		if count >= int64(n) && count == before { // the count is stable
			return count, nil
		}
		time.Sleep(time.Second)
	}
	return count, errors.New("not all of them fail")
}

func (a *adminOf) resubmit(ctx context.Context) (string, error) {
	var batch struct {
		ID string `json:"id"`
	}
	err := a.call(ctx, http.MethodPost, "/failed/resubmit", map[string]any{"all": true}, &batch)
	return batch.ID, err
}

func (a *adminOf) stop(ctx context.Context, id string) (int, error) {
	var batch struct {
		Done  int    `json:"done"`
		State string `json:"state"`
	}
	err := a.call(ctx, http.MethodDelete, "/failed/batches/"+id, nil, &batch)
	for err == nil && batch.State == "running" {
		err = a.call(ctx, http.MethodGet, "/failed/batches/"+id, nil, &batch)
	}
	return batch.Done, err
}
