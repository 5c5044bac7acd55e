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
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"valence/cloud/operator"
	"valence/cloud/platform"
)

// plane is a control plane started by this run.
type plane struct {
	*program
	token string
	http  *http.Client
}

// plane starts a control plane on a data folder. files are its certificate and
// key, or empty.
func (b *bench) plane(ctx context.Context, data, address string, files ...string) (*plane, error) {
	var err error
	if address == "" {
		if address, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	line := []string{b.valence, "cloud", "--listen", address, "--data", data, "--rate", "1000000", "--log-level", "warn"}
	if len(files) == 2 {
		line = append(line, "--tls-cert", files[0], "--tls-key", files[1])
	}
	p, err := b.launch(ctx, "cloud", address, data, line, nil)
	if err != nil {
		return nil, err
	}
	c := &plane{program: p, http: &http.Client{Timeout: time.Minute, Transport: &http.Transport{}}}
	if len(files) == 2 {
		p.url = "https://" + address
		if c.http.Transport, err = trusting(files[0]); err != nil {
			return nil, b.orStop(p, err)
		}
	}
	for end := time.Now().Add(time.Minute); ; {
		resp, err := c.http.Get(p.url + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				break
			}
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-p.exited:
			return nil, b.orStop(p, fmt.Errorf("the control plane ended while starting:\n%s", p.tail()))
		case <-ctx.Done():
			return nil, b.orStop(p, ctx.Err())
		}
		if time.Now().After(end) {
			return nil, b.orStop(p, fmt.Errorf("the control plane is not ready: %v\n%s", err, p.tail()))
		}
	}
	token, err := os.ReadFile(filepath.Join(data, "admin.token"))
	c.token = strings.TrimSpace(string(token))
	return c, b.orStop(p, err)
}

// ask sends one request with the administrator's token.
func (c *plane) ask(ctx context.Context, method, path string, in, out any, header ...string) error {
	text, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if strings.HasPrefix(path, platform.Root) {
		req.SetBasicAuth("BOOMI_TOKEN.admin", c.token)
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s %s", method, path, resp.Status, answer)
	}
	return json.Unmarshal(answer, out)
}

// command runs one command of the program to completion.
func (b *bench) command(ctx context.Context, args ...string) error {
	if text, err := exec.CommandContext(ctx, b.valence, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("valence %s: %w\n%s", strings.Join(args, " "), err, text)
	}
	return nil
}

// joined starts an atom that has joined a control plane in the environment prod,
// which it creates. more are further flags of `valence join`.
func (b *bench) joined(ctx context.Context, c *plane, at string, more ...string) (*program, error) {
	var made struct{ Token string }
	own := operator.Root + "default"
	if err := c.ask(ctx, http.MethodPost, own+"/environments", map[string]string{"name": "prod"}, &made); err != nil {
		return nil, err
	}
	if err := c.ask(ctx, http.MethodPost, own+"/install-tokens", map[string]string{"environment": "prod"}, &made); err != nil {
		return nil, err
	}
	data, err := os.MkdirTemp(b.data, "edge-")
	if err != nil {
		return nil, err
	}
	if err := b.command(ctx, append([]string{"join", at, "--token", made.Token, "--name", "edge-01", "--data", data}, more...)...); err != nil {
		return nil, errors.Join(err, os.RemoveAll(data))
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	admin, err := freeAddress()
	if err != nil {
		return nil, err
	}
	return b.launch(ctx, "edge", address, data, []string{b.valence, "run", "--data", data, "--listen", address, "--admin", admin, "--log-level", "warn"}, nil)
}

// relayed is a minimal process.
const relayed = "process: relay\nsteps:\n  - map:\n      id: ${props.recordId}\n"

// relay measures an execution request on an idle atom, from sending it until its
// record is available.
func (b *bench) relay(ctx context.Context) (_ []Row, err error) {
	data, err := os.MkdirTemp(b.data, "cloud-")
	if err != nil {
		return nil, err
	}
	c, err := b.plane(ctx, data, "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.discard()) }()
	p, err := b.joined(ctx, c, c.url)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.discard()) }()
	project, err := os.MkdirTemp(b.folder, "relay-")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(project, "project.yaml"), []byte(relayed), 0o600); err != nil {
		return nil, err
	}
	if err := b.command(ctx, "deploy", project, "--project", "relay", "--to", c.url, "--token-file", filepath.Join(c.data, "admin.token"), "--environment", "prod", "--version", "1"); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, p.tail())
	}
	row := Row{Workload: "An execution request to a waiting atom, until its record is back, median", Unit: "ms", Must: 25, Least: true}
	var medians []float64
	for round := range b.Rounds + 1 { // the first round is warm-up
		var times []float64
		for i := range b.Requests {
			ms, err := c.request(ctx, i)
			if err != nil {
				return nil, fmt.Errorf("%w\n%s\n%s", err, c.tail(), p.tail())
			}
			times = append(times, ms)
		}
		if round > 0 {
			medians = append(medians, median(times))
			row.Rounds = append(row.Rounds, [2]float64{0, median(times)})
		}
	}
	row.Atom = median(medians)
	row.Notes = []string{fmt.Sprintf("%d requests in each round, one after the other, with Prefer: wait; both stores on the same disk", b.Requests)}
	return []Row{row}, nil
}

// request sends one execution request and returns the time until its record is
// available, in milliseconds.
func (c *plane) request(ctx context.Context, i int) (float64, error) {
	in := map[string]any{"@type": "ExecutionRequest", "atomId": "edge-01", "processName": "relay",
		"DynamicProcessProperties": map[string]any{"DynamicProcessProperty": []map[string]string{{"name": "recordId", "value": fmt.Sprint(i)}}}}
	var out struct {
		RequestID string
		Record    struct{ Status string }
	}
	sent := time.Now()
	if err := c.ask(ctx, http.MethodPost, platform.Root+"default/ExecutionRequest", in, &out, "Prefer: wait=30"); err != nil {
		return 0, err
	}
	if out.Record.Status != "COMPLETE" {
		return 0, fmt.Errorf("the request %s ended as %q", out.RequestID, out.Record.Status)
	}
	return float64(time.Since(sent).Microseconds()) / 1000, nil
}
