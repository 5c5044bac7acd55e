package cli

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

//go:embed demorelay
var relayProjects embed.FS

// relay is the second story: a control plane, an atom in the cloud, and one
// that can only make outbound connections.
type relay struct {
	*demo
	folder             string
	plane, cloud, edge *child
	shopKey            string
}

// The orders of the second story.
const (
	relayed = 4712
	missed  = 4713 // changes while the atom behind the firewall is down
)

func (d *demo) aFirewall(ctx context.Context, folder, shopURL, erpURL, shopKey string) (err error) {
	d.say("\n4. The ERP stands behind a firewall that lets nothing in")
	r := &relay{demo: d, folder: filepath.Join(folder, "relay"), shopKey: shopKey}
	if err := r.build(ctx, shopURL, erpURL); err != nil {
		return err
	}
	d.telling.Store(true)
	defer d.telling.Store(false)
	d.tell("control plane  %s", r.plane.listen)
	d.tell("cloudside      %s, an atom in the cloud, which the shop can reach", r.cloud.listen)
	d.tell("edge-01        an atom beside the ERP: it listens to nobody outside, and has one request open to the control plane")

	start := time.Now()
	if err := r.changed(ctx, relayed); err != nil {
		return err
	}
	d.tell("shop → cloudside        POST /shop/orders/changed {\"id\": %d}: 200", relayed)
	d.tell("cloudside → control plane  execute invoice-order on edge-01 with order = %d", relayed)
	d.tell("edge-01 gets it as the answer to the request that it has open, and calls out:")
	if err := until(ctx, 20*time.Second, func() bool { return len(d.erp.invoices(relayed)) > 0 }); err != nil {
		return fmt.Errorf("order %d did not come through the firewall: %w\n%s", relayed, err, r.lastLines())
	}
	d.tell("so order %d is invoice %s, %s after the event", relayed, strings.Join(d.erp.invoices(relayed), ", "), span(time.Since(start)))

	d.tell("edge-01 is killed with SIGKILL; order %d changes: 200", missed)
	r.edge.kill()
	if err := r.changed(ctx, missed); err != nil {
		return err
	}
	d.tell("edge-01 starts again")
	if err := r.edge.start(ctx); err != nil {
		return err
	}
	if err := until(ctx, 30*time.Second, func() bool { return len(d.erp.invoices(missed)) > 0 }); err != nil {
		return fmt.Errorf("order %d was lost: %w\n%s", missed, err, r.lastLines())
	}
	d.tell("so order %d is invoice %s: nothing was lost, and nothing runs twice", missed, strings.Join(d.erp.invoices(missed), ", "))
	for _, order := range []int{relayed, missed} {
		n := len(d.erp.invoices(order))
		d.promise(n == 1, "order %d has %d invoices", order, n)
	}
	return nil
}

// build starts the three programs, enrols the atoms, and deploys to them.
func (r *relay) build(ctx context.Context, shopURL, erpURL string) error {
	if err := copyOut(relayProjects, "demorelay", r.folder); err != nil {
		return failed("a TMPDIR that can be written to", "%v", err)
	}
	ports, err := freePorts(5)
	if err != nil {
		return err
	}
	at := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	env := withoutSettings(os.Environ())
	data := filepath.Join(r.folder, "plane")
	r.plane = &child{what: "control plane", data: data, listen: "http://" + at(0), env: env, ready: "/readyz",
		args: []string{"cloud", "run", "--listen", at(0), "--data", data, "--log-level", "warn"}}
	atom := func(name string, listen, admin int) *child {
		data := filepath.Join(r.folder, name)
		return &child{what: "atom " + name, data: data, listen: "http://" + at(listen), admin: "http://" + at(admin), env: env, ready: "/healthz",
			args: []string{"run", "--data", data, "--listen", at(listen), "--admin", at(admin), "--log-level", "error"}}
	}
	r.cloud, r.edge = atom("cloudside", 1, 2), atom("edge-01", 3, 4)
	r.others = []*child{r.cloud, r.edge, r.plane}
	if err := r.plane.start(ctx); err != nil {
		return err
	}
	token, err := r.valence(ctx, "", "cloud", "token", "--role", "operator", "--name", "relay")
	if err != nil {
		return err
	}
	for _, a := range []struct {
		atom    *child
		name    string
		project string
		values  []string
		secrets map[string]string
	}{
		{r.cloud, "cloudside", "cloud", []string{"CLOUD_URL=" + r.plane.listen}, map[string]string{"CLOUD_TOKEN": token, "SHOP_KEY": r.shopKey}},
		{r.edge, "edge-01", "onprem", []string{"SHOP_URL=" + shopURL, "ERP_URL=" + erpURL}, map[string]string{"SHOP_KEY": r.shopKey}},
	} {
		if _, err := r.valence(ctx, "", "cloud", "environments", "make", a.name); err != nil {
			return err
		}
		install, err := r.valence(ctx, "", "cloud", "install-token", "--environment", a.name)
		if err != nil {
			return err
		}
		if _, err := r.valence(ctx, "", "join", r.plane.listen, "--token", install, "--name", a.name, "--data", a.atom.data); err != nil {
			return err
		}
		if _, err := r.valence(ctx, "", append([]string{"cloud", "value", "--environment", a.name}, a.values...)...); err != nil {
			return err
		}
		for name, value := range a.secrets {
			if _, err := r.valence(ctx, value, "cloud", "secret", name, "--environment", a.name); err != nil {
				return err
			}
		}
		if err := a.atom.start(ctx); err != nil {
			return err
		}
		if _, err := r.valence(ctx, "", "deploy", filepath.Join(r.folder, a.project), "--to", r.plane.listen, "--environment", a.name, "--version", "1.0.0"); err != nil {
			return err
		}
	}
	return nil
}

// valence runs a command of this program as an operator would, and gives what
// it printed.
func (r *relay) valence(ctx context.Context, in string, args ...string) (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", failed("", "find this program: %v", err)
	}
	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.Env = append(withoutSettings(os.Environ()), "VALENCE_CLOUD_DATA="+r.plane.data, "VALENCE_CLOUD_TOKEN_FILE="+filepath.Join(r.plane.data, cloudTokenFile))
	cmd.Stdin = strings.NewReader(in)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", failed("", "valence %s: %v\n%s", strings.Join(args, " "), err, indent(strings.TrimSpace(errs.String())))
	}
	return strings.TrimSpace(out.String()), nil
}

// changed says to the atom in the cloud that an order changed.
func (r *relay) changed(ctx context.Context, order int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.cloud.listen+"/shop/orders/changed", strings.NewReader(fmt.Sprintf(`{"id":%d}`, order)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Shop-Key", r.shopKey)
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

func (r *relay) lastLines() string {
	var b strings.Builder
	for _, c := range r.others {
		fmt.Fprintf(&b, "%s:\n%s\n", c.what, c.lastLines())
	}
	return b.String()
}
