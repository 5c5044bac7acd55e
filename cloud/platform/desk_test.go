package platform

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/internal/wire"
)

// desk is a control plane with at least one object of every kind.
type desk struct {
	t       *testing.T
	service *cloud.Service
	handler http.Handler
	tokens  map[cloud.Role]string
	other   string // an administrator's token of another account
	admin   cloud.Principal

	environment, empty, atom, attachment, pkg, spare, component, deployment, request, execution string
}

const project = `process: fetch-order
listen: { path: /orders, method: POST, auth: none }
steps:
  - log: ${props.recordId}
---
process: other
steps:
  - call: shop.get
    with: { path: /orders }
---
process: nightly
schedule: { cron: "*/15 2-4 * * MON-FRI", timezone: Europe/Lisbon }
steps:
  - log: ${props.scheduled_at}
---
connection: shop
connector: http
url: ${env.SHOP_URL}
auth: { scheme: bearer, token: "${secret.SHOP_KEY}" }
`

// open starts a control plane in its own folder.
func open(t *testing.T, o cloudtest.Options) *desk {
	t.Helper()
	p := cloudtest.New(t, o)
	return &desk{t: t, service: p.Service, handler: New(Options{Service: p.Service}), admin: p.Admin, tokens: p.RoleTokens(t), other: p.OtherAccount(t)}
}

func (d *desk) token(r cloud.Role, environments ...string) string {
	d.t.Helper()
	tok, err := d.service.Accounts.CreateToken(d.t.Context(), d.admin, cloud.Token{Name: string(r), Role: r, Environments: environments})
	if err != nil {
		d.t.Fatal(err)
	}
	return tok.Secret
}

// furnish creates an environment with an atom, a deployed package, a request and
// its record.
func (d *desk) furnish() *desk {
	d.t.Helper()
	ctx, fail := d.t.Context(), func(err error) {
		d.t.Helper()
		if err != nil {
			d.t.Fatal(err)
		}
	}
	e, err := d.service.Environments.Create(ctx, d.admin, cloud.Environment{Name: "prod", Classification: cloud.Production})
	fail(err)
	bare, err := d.service.Environments.Create(ctx, d.admin, cloud.Environment{Name: "bare", Classification: cloud.Test})
	fail(err)
	d.environment, d.empty = e.ID, bare.ID
	d.atom = d.enrol("edge-01", e.ID)
	attachments, err := d.service.Fleet.Attachments(ctx, d.admin)
	fail(err)
	d.attachment = attachments[0].ID
	p, err := d.service.Packages.Create(ctx, d.admin, cloud.Upload{Archive: d.archive(project), Project: "shop", Version: "1.0.0"})
	fail(err)
	spare, err := d.service.Packages.Create(ctx, d.admin, cloud.Upload{Archive: d.archive(project + "# more\n"), Project: "shop", Version: "1.1.0", Notes: "more"})
	fail(err)
	d.pkg, d.spare, d.component = p.ID, spare.ID, cloud.ProcessID(cloud.DefaultAccount, "shop", "fetch-order")
	deployment, err := d.service.Deployments.Deploy(ctx, d.admin, cloud.Deployment{PackageID: p.ID, EnvironmentID: e.ID})
	fail(err)
	d.deployment = deployment.ID
	d.request, err = d.service.Executions.Execute(ctx, d.admin, cloud.ExecutionRequest{AtomID: d.atom, ProcessID: d.component})
	fail(err)
	d.report("INPROCESS-1", d.request, "running")
	records, _, err := d.service.Executions.Records(ctx, d.admin, cloud.RecordFilter{RequestID: d.request}, cloud.Cursor{}, 1)
	fail(err)
	d.execution = records[0].ID
	return d
}

func (d *desk) archive(text string) []byte {
	d.t.Helper()
	b, err := wire.Pack([]wire.PackageFile{{Name: "project.yaml", Content: []byte(text)}})
	if err != nil {
		d.t.Fatal(err)
	}
	return b
}

// enrol joins an atom.
func (d *desk) enrol(name, environment string) string {
	d.t.Helper()
	tok, err := d.service.Fleet.CreateInstallToken(d.t.Context(), d.admin, environment, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	public, private, _ := ed25519.GenerateKey(rand.Reader)
	seal, _ := ecdh.X25519().GenerateKey(rand.Reader)
	r, err := d.service.AtomAPI.Enroll(d.t.Context(), wire.EnrollRequest{Token: tok.Token, Name: name, Key: public, SealKey: seal.PublicKey().Bytes(),
		SealSignature: ed25519.Sign(private, seal.PublicKey().Bytes()), Version: "1.2.3", Host: "plant-7"}, "127.0.0.1")
	if err != nil {
		d.t.Fatal(err)
	}
	return r.Atom
}

// schedule returns the id of a process's schedule on the atom.
func (d *desk) schedule(process string) string {
	return scheduleID(cloud.ScheduleState{AtomID: d.atom, ProcessID: cloud.ProcessID(cloud.DefaultAccount, "shop", process)})
}

// report reports an execution as the atom does.
func (d *desk) report(id, request, status string) {
	d.t.Helper()
	at := time.Date(2026, 1, 31, 15, 32, 0, 123e6, time.UTC)
	x := wire.ExecutionReport{Execution: id, Request: request, Process: "fetch-order", Kind: "manual", Status: status, Received: at, Started: at}
	if status != "running" {
		x.Ended = at.Add(1500 * time.Millisecond)
		x.In, x.Out = &wire.Traffic{Documents: 1, Bytes: 17}, &wire.Traffic{Documents: 2, Bytes: 40}
	}
	if err := d.service.AtomAPI.StoreReports(d.t.Context(), d.atom, wire.Reports{Executions: []wire.ExecutionReport{x}}); err != nil {
		d.t.Error(err) // not Fatal: also called in goroutines
	}
}

// ask sends a request as an administrator. Headers are "Name: value".
func (d *desk) ask(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	d.t.Helper()
	return d.askAs(d.tokens[cloud.Admin], string(cloud.Admin), method, path, body, headers...)
}

func (d *desk) askAs(token, user, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	d.t.Helper()
	r := httptest.NewRequest(method, Root+path, strings.NewReader(body))
	if token != "" {
		r.SetBasicAuth("BOOMI_TOKEN."+user, token)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	return w
}

// json sends a JSON request and returns the body of a response with the wanted
// status.
func (d *desk) json(status int, method, path, body string) string {
	d.t.Helper()
	w := d.ask(method, "default/"+path, body, "Content-Type: application/json", "Accept: application/json")
	text, _ := io.ReadAll(w.Body)
	if w.Code != status {
		d.t.Fatalf("%s %s: %d, want %d: %s", method, path, w.Code, status, text)
	}
	return strings.TrimSpace(string(text))
}
