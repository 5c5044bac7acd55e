package demo

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"valence/internal/cli/controlplane"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
)

// relay is the last chapter: a control plane, an atom in the cloud, and an atom
// that only makes outbound requests.
type relay struct {
	*demo
	folder             string
	plane, cloud, edge *program
}

// The orders of the last chapter.
const (
	relayedOrder = 4712
	delayedOrder = 4713 // changes while edge-01 is down
)

// showRelay sends two events through the control plane to edge-01: one while it
// runs, one while it is down.
func (d *demo) showRelay(ctx context.Context, folder, shopURL, erpURL string) error {
	d.say("\n4. The ERP is behind a firewall that blocks inbound connections")
	r := &relay{demo: d, folder: filepath.Join(folder, "relay")}
	if err := r.build(ctx, shopURL, erpURL); err != nil {
		return err
	}
	d.verbose.Store(true)
	defer d.verbose.Store(false)
	d.trace("control plane  %s", r.plane.listen)
	d.trace("cloudside      %s, an atom in the cloud that the shop can reach", r.cloud.listen)
	d.trace("edge-01        an atom next to the ERP; it polls the control plane and accepts no connections from outside")

	start := time.Now()
	if err := r.sendEvent(ctx, relayedOrder); err != nil {
		return err
	}
	d.trace("shop → cloudside           POST /shop/orders/changed {\"id\": %d}: 200", relayedOrder)
	d.trace("cloudside → control plane  execute invoice-order on edge-01 with order = %d", relayedOrder)
	d.trace("edge-01 receives the request in the response to its poll, and calls:")
	if err := r.awaitInvoice(ctx, relayedOrder, 20*time.Second); err != nil {
		return err
	}
	d.trace("order %d is invoice %s, %s after the event", relayedOrder, strings.Join(d.erp.invoices(relayedOrder), ", "), terminal.Duration(time.Since(start)))

	d.trace("edge-01 is killed with SIGKILL; order %d changes: 200", delayedOrder)
	r.edge.kill()
	if err := r.sendEvent(ctx, delayedOrder); err != nil {
		return err
	}
	d.trace("edge-01 starts again")
	if err := r.edge.start(ctx); err != nil {
		return err
	}
	if err := r.awaitInvoice(ctx, delayedOrder, 30*time.Second); err != nil {
		return err
	}
	d.trace("order %d is invoice %s: nothing was lost, nothing ran twice", delayedOrder, strings.Join(d.erp.invoices(delayedOrder), ", "))
	for _, order := range []int{relayedOrder, delayedOrder} {
		n := len(d.erp.invoices(order))
		d.check(n == 1, "order %d has %d invoices", order, n)
	}
	return nil
}

func (r *relay) awaitInvoice(ctx context.Context, order int, timeout time.Duration) error {
	if err := await(ctx, timeout, func() bool { return len(r.erp.invoices(order)) > 0 }); err != nil {
		return fmt.Errorf("order %d did not reach the ERP: %w\n%s", order, err, r.lastLines())
	}
	return nil
}

// build starts the three programs, enrolls the atoms and deploys to them.
func (r *relay) build(ctx context.Context, shopURL, erpURL string) error {
	if err := copyProject("relay", r.folder); err != nil {
		return err
	}
	ports, err := freePorts(5)
	if err != nil {
		return err
	}
	address := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	env := withoutSettings(os.Environ())
	data := filepath.Join(r.folder, "plane")
	r.plane = &program{name: "control plane", data: data, listen: "http://" + address(0), env: env, ready: "/readyz",
		args: []string{"cloud", "run", "--listen", address(0), "--data", data, "--log-level", "warn"}}
	atom := func(name string, listen, admin int) *program {
		data := filepath.Join(r.folder, name)
		return &program{name: "atom " + name, data: data, listen: "http://" + address(listen), admin: "http://" + address(admin), env: env, ready: "/healthz",
			args: []string{"run", "--data", data, "--listen", address(listen), "--admin", address(admin), "--log-level", "error"}}
	}
	r.cloud, r.edge = atom("cloudside", 1, 2), atom("edge-01", 3, 4)
	r.others = []*program{r.cloud, r.edge, r.plane}
	if err := r.plane.start(ctx); err != nil {
		return err
	}
	token, err := r.valence(ctx, "", "cloud", "token", "--role", "operator", "--name", "relay")
	if err != nil {
		return err
	}
	if err := r.startAtom(ctx, r.cloud, "cloudside", "cloud", []string{"CLOUD_URL=" + r.plane.listen}, map[string]string{"CLOUD_TOKEN": token, "SHOP_KEY": r.shop.key}); err != nil {
		return err
	}
	return r.startAtom(ctx, r.edge, "edge-01", "onprem", []string{"SHOP_URL=" + shopURL, "ERP_URL=" + erpURL}, map[string]string{"SHOP_KEY": r.shop.key})
}

// startAtom enrolls an atom in an environment of its own, starts it and deploys
// a project to it, with the commands that an operator would use.
func (r *relay) startAtom(ctx context.Context, atom *program, name, project string, values []string, secrets map[string]string) error {
	if _, err := r.valence(ctx, "", "cloud", "environments", "make", name); err != nil {
		return err
	}
	token, err := r.valence(ctx, "", "cloud", "install-token", "--environment", name)
	if err != nil {
		return err
	}
	if _, err := r.valence(ctx, "", "join", r.plane.listen, "--token", token, "--name", name, "--data", atom.data); err != nil {
		return err
	}
	if _, err := r.valence(ctx, "", append([]string{"cloud", "value", "--environment", name}, values...)...); err != nil {
		return err
	}
	for secret, value := range secrets {
		if _, err := r.valence(ctx, value, "cloud", "secret", secret, "--environment", name); err != nil {
			return err
		}
	}
	if err := atom.start(ctx); err != nil {
		return err
	}
	_, err = r.valence(ctx, "", "deploy", filepath.Join(r.folder, project), "--to", r.plane.listen, "--environment", name, "--version", "1.0.0")
	return err
}

// valence runs a command of this program and returns its standard output.
func (r *relay) valence(ctx context.Context, stdin string, args ...string) (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", clierror.Failed("", "find this program: %v", err)
	}
	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.Env = append(withoutSettings(os.Environ()), "VALENCE_CLOUD_DATA="+r.plane.data, "VALENCE_CLOUD_TOKEN_FILE="+filepath.Join(r.plane.data, controlplane.TokenFile))
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", clierror.Failed("", "valence %s: %v\n%s", strings.Join(args, " "), err, terminal.Indent(strings.TrimSpace(errs.String())))
	}
	return strings.TrimSpace(out.String()), nil
}

// sendEvent reports a changed order to the atom in the cloud.
func (r *relay) sendEvent(ctx context.Context, order int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.cloud.listen+"/shop/orders/changed", strings.NewReader(fmt.Sprintf(`{"id":%d}`, order)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Shop-Key", r.shop.key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("send an event: %w", err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the event was answered with %s", resp.Status)
	}
	return nil
}

// lastLines returns the end of the output of all programs.
func (r *relay) lastLines() string {
	var b strings.Builder
	for _, p := range r.others {
		fmt.Fprintf(&b, "%s:\n%s\n", p.name, p.lastLines())
	}
	return b.String()
}
