// Package run has the commands for the machine of an atom: run starts it, join
// enrolls it with a control plane.
package run

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"valence/atom"
	"valence/atom/admin"
	"valence/atom/agent/cloudclient"
	"valence/atom/server"
	webhook "valence/connectors/http"
	"valence/internal/cli/project"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
	"valence/internal/pgdb"
	"valence/internal/version"
	"valence/processes"
	"valence/processes/loader"
)

// Command starts an atom.
type Command struct {
	Paths []string `arg:"" optional:"" files:"" help:"Folders and files of the project; default: the current folder."`
	dataFlags
	groupFlags
	listenFlags
	terminal.LogFlags
	Watch bool `help:"Reload the project when its files change; versions with errors are reported and ignored."`
}

// dataFlags are the flags of the data folder and the environment.
type dataFlags struct {
	Data            string `default:"data" env:"VALENCE_DATA" help:"Data folder: everything the atom stores."`
	Environment     string `env:"VALENCE_ENVIRONMENT" placeholder:"NAME" help:"Environment component with the values and secrets; default: environment variables."`
	AcceptLoss      bool   `name:"accept-loss" help:"Start although the data folder lacks some of what it held. What is lost is logged and recorded in losses.jsonl."`
	MaxKeptFailures int64  `type:"size" default:"256MiB" env:"VALENCE_MAX_KEPT_FAILURES" placeholder:"SIZE" help:"Failures of waiting callers that one process keeps for resubmission; further ones are counted and logged. 0B is unlimited. Failures of acknowledged messages are always kept. Default: 256MiB."`
	HistoryMaxBytes int64  `type:"size" env:"VALENCE_HISTORY_MAX_BYTES" placeholder:"SIZE" help:"Disk space for finished executions, such as 20GiB; the oldest day is deleted first. Default: limited by their retention only."`
}

// groupFlags are the flags of a member of a group of atoms.
type groupFlags struct {
	Store          string `env:"VALENCE_STORE" placeholder:"URL" help:"PostgreSQL database of a group of atoms, postgres://user@host:5432/database. The data folder then holds the address and the token of this member only. Default: the store is in the data folder."`
	Group          string `env:"VALENCE_GROUP" placeholder:"NAME" help:"Name of the group that shares the database of --store."`
	StorePlaintext bool   `name:"store-allow-plaintext" help:"Connect to a database on another machine without TLS. Anyone who can read that network can read messages and keys."`
}

// check returns an error for flags that are invalid or do not fit together.
func (c *groupFlags) check(d *dataFlags) error {
	switch {
	case c.Store == "" && c.Group == "" && !c.StorePlaintext:
		return nil
	case c.Store == "":
		return clierror.Usage("--store postgres://user@host:5432/database", "--group and --store-allow-plaintext need --store")
	case c.Group == "":
		return clierror.Usage("--group NAME, the same one for every member", "--store needs the name of the group")
	case len(c.Group) > maxGroupName || !groupName.MatchString(c.Group):
		return clierror.Usage("--group shop", "--group must be up to %d letters, digits, hyphens and underscores", maxGroupName)
	case d.HistoryMaxBytes != 0:
		return clierror.Usage("`retention:` in the processes", "--history-max-bytes limits the data folder, and has no effect with --store")
	case d.AcceptLoss:
		return clierror.Usage("the tools of PostgreSQL", "--accept-loss repairs the data folder, and has no effect with --store")
	}
	if err := pgdb.CheckAddress("--store", c.Store); err != nil {
		e := (*pgdb.Error)(nil)
		errors.As(err, &e)
		return clierror.Usage(e.Hint, "%s", e.Text)
	}
	return nil
}

// groupName matches the names of groups.
var groupName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

const maxGroupName = 40

// listenFlags are the flags of the web services and the admin API.
type listenFlags struct {
	Listen              string        `default:"127.0.0.1:9090" env:"VALENCE_LISTEN" help:"Address of the web services."`
	PublicURL           string        `name:"public-url" env:"VALENCE_PUBLIC_URL" placeholder:"URL" help:"URL at which other systems reach the web services, such as https://valence.example; callback() URLs start with it. Default: the address of --listen, never the Host header."`
	TLSCert             string        `name:"tls-cert" env:"VALENCE_TLS_CERT" placeholder:"FILE" help:"Certificate chain (PEM) of the web services; reloaded when the file changes."`
	TLSKey              string        `name:"tls-key" env:"VALENCE_TLS_KEY" placeholder:"FILE" help:"Private key for --tls-cert."`
	Admin               string        `default:"127.0.0.1:9091" env:"VALENCE_ADMIN" help:"Address of the admin API and the metrics."`
	AdminTLSCert        string        `name:"admin-tls-cert" env:"VALENCE_ADMIN_TLS_CERT" placeholder:"FILE" help:"Certificate chain (PEM) of the admin API; reloaded when the file changes."`
	AdminTLSKey         string        `name:"admin-tls-key" env:"VALENCE_ADMIN_TLS_KEY" placeholder:"FILE" help:"Private key for --admin-tls-cert."`
	AdminBeyondLoopback bool          `name:"admin-beyond-loopback-without-tls" help:"Allow an admin API without TLS that other machines can reach. Anyone who can read the network can read its token."`
	MaxConnections      int           `default:"10000" env:"VALENCE_MAX_CONNECTIONS" help:"Open connections of the web services; more must wait. 0: unlimited."`
	MaxPerAddress       *int          `name:"max-connections-per-address" env:"VALENCE_MAX_CONNECTIONS_PER_ADDRESS" placeholder:"N" help:"Open connections of one client address (IPv6: of one /64 network); further ones are closed at once. 0: unlimited, such as behind a proxy. Default: a quarter of --max-connections."`
	MaxRequestMemory    int64         `type:"size" env:"VALENCE_MAX_REQUEST_MEMORY" placeholder:"SIZE" help:"Memory for the bodies of all requests together, decompressed and converted, such as 512MiB; beyond it requests get 503 with Retry-After. Default: a quarter of the memory of the machine or of its control group."`
	Grace               time.Duration `default:"20s" env:"VALENCE_GRACE" help:"Time for requests, and then for executions, to finish after SIGTERM."`
	ShutdownDelay       time.Duration `default:"0s" env:"VALENCE_SHUTDOWN_DELAY" help:"Time after SIGTERM in which /readyz fails but connections are still accepted, so that load balancers notice."`
}

// Help returns the text below the command's summary.
func (*Command) Help() string {
	return `The atom stores everything in its data folder; one atom runs per folder. SIGTERM
or Ctrl-C stops it: running work may finish within the grace period, the rest
continues at the next start. A second signal stops it at once; nothing is lost.
SIGHUP reloads the project.

Examples:

    valence run
    valence run orders/ --environment prod --data /var/lib/valence
    valence run --listen 0.0.0.0:8443 --tls-cert cert.pem --tls-key key.pem
    valence run --data /var/lib/valence
    valence run orders/ --store postgres://valence@db.example/valence --group shop

With --store, several atoms share a PostgreSQL database: each accepts messages and
runs executions, and takes over from one that dies. The password comes from the file
that PGPASSWORD_FILE names, or from ~/.pgpass.

After valence join, no project is needed: the atom runs what the control plane
deploys. A project named here runs alongside; process names and listener paths
must be unique across both.
`
}

// Run runs an atom until it is stopped.
func (c *Command) Run(s *terminal.Streams) error {
	begin := time.Now()
	server.TuneGC()
	p, err := c.project(s)
	if err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	paths := c.Paths
	if len(paths) == 0 {
		paths = []string{"."}
	}
	source := server.Source{Watch: c.Watch, Read: func() ([]processes.File, error) { return loader.ReadDir(paths...) }}
	if p != nil {
		source.Project = &server.Project{Project: p.Project, Files: p.Files}
	}
	o := c.options(s)
	return server.Run(o, source, func(started *server.Server) {
		took := time.Since(begin)
		if c.LogFormat == "json" {
			at := started.Address()
			o.Log.Info("ready", "listen", at.Listen, "admin", at.Admin, "processes", len(started.Processes()), "after", took.String())
			return
		}
		if err := c.printBanner(s.Out, started, p, took); err != nil {
			o.Log.Debug("cannot print the banner", "error", err)
		}
	})
}

// project reads the named project. It returns nil if none is named and the data
// folder is enrolled with a control plane.
func (c *Command) project(s *terminal.Streams) (*project.Loaded, error) {
	if len(c.Paths) == 0 {
		if _, err := cloudclient.LoadIdentity(c.Data); err == nil {
			return nil, nil
		}
	}
	return project.LoadValid(c.Paths, s.Err)
}

func (c *Command) options(s *terminal.Streams) server.Options {
	return server.Options{
		Data: c.Data, Environment: c.Environment, HistoryMaxBytes: c.HistoryMaxBytes, MaxKeptFailures: c.MaxKeptFailures, AcceptLoss: c.AcceptLoss,
		Web: server.WebOptions{
			Address: c.Listen, PublicURL: c.PublicURL, TLSCert: c.TLSCert, TLSKey: c.TLSKey,
			MaxConnections: c.MaxConnections, MaxConnectionsPerAddress: c.MaxPerAddress, MaxRequestMemory: c.MaxRequestMemory, ShutdownDelay: c.ShutdownDelay, AccessLogEvery: c.AccessLog,
		},
		Admin: server.AdminOptions{Address: c.Admin, TLSCert: c.AdminTLSCert, TLSKey: c.AdminTLSKey, AllowPlain: c.AdminBeyondLoopback},
		Group: server.GroupOptions{Store: c.Store, Name: c.Group, AllowPlaintext: c.StorePlaintext},
		Grace: c.Grace, Version: version.String(), Catalog: project.Catalog(), Callbacks: webhook.Callbacks(version.String()), Log: c.Logger(s.Err),
	}
}

// check returns an error for flags that are invalid or do not fit together.
func (c *Command) check() error {
	if err := c.groupFlags.check(&c.dataFlags); err != nil {
		return err
	}
	if c.Listen == "" || c.Admin == "" {
		return clierror.Usage("--listen 127.0.0.1:9090", "--listen and --admin must not be empty")
	}
	for _, a := range [][2]string{{"--listen", c.Listen}, {"--admin", c.Admin}} {
		if err := clierror.Address(a[0], a[1]); err != nil {
			return err
		}
	}
	for _, pair := range [][3]string{{c.TLSCert, c.TLSKey, "tls"}, {c.AdminTLSCert, c.AdminTLSKey, "admin-tls"}} {
		if (pair[0] == "") != (pair[1] == "") {
			return clierror.Usage("--"+pair[2]+"-cert FILE --"+pair[2]+"-key FILE", "--%s-cert and --%s-key must be used together", pair[2], pair[2])
		}
	}
	if c.Grace <= 0 {
		return clierror.Usage("--grace 20s", "--grace must be positive")
	}
	if c.ShutdownDelay < 0 {
		return clierror.Usage("--shutdown-delay 5s", "--shutdown-delay must not be negative")
	}
	if u, err := url.Parse(c.PublicURL); c.PublicURL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "") {
		return clierror.Usage("--public-url https://valence.example", "--public-url: invalid URL %s", c.PublicURL)
	}
	if c.MaxConnections < 0 {
		return clierror.Usage("--max-connections 10000", "--max-connections must be 0 or more")
	}
	if c.MaxPerAddress != nil && *c.MaxPerAddress < 0 {
		return clierror.Usage("--max-connections-per-address 2500", "--max-connections-per-address must be 0 or more")
	}
	return c.LogFlags.Check()
}

// maxBanner is the number of processes that the banner lists.
const maxBanner = 20

// printBanner prints the addresses and processes of a started atom.
func (c *Command) printBanner(w io.Writer, started *server.Server, p *project.Loaded, took time.Duration) error {
	at, deployed := started.Address(), started.Processes()
	fmt.Fprintf(w, "valence %s is ready after %s\n", version.String(), terminal.Duration(took))
	fmt.Fprintf(w, "  web services  %s\n", at.Listen)
	fmt.Fprintf(w, "  admin API     %s, with the token in %s\n", at.Admin, filepath.Join(c.Data, admin.TokenFile))
	fmt.Fprintf(w, "  data folder   %s\n", c.Data)
	if c.Group != "" {
		fmt.Fprintf(w, "  group         %s, with %s\n", c.Group, terminal.Count(started.Members(), "member", "members"))
	}
	printAgent(w, started)
	from := ""
	if p != nil {
		from = ", from " + terminal.Count(len(p.Files), "file", "files")
	}
	fmt.Fprintf(w, "  processes     %d%s\n", len(deployed), from)
	t := &terminal.Table{Head: []string{"", "", ""}}
	for i, d := range deployed {
		if i == maxBanner {
			t.Add("    and "+fmt.Sprint(len(deployed)-i)+" more", "", "")
			break
		}
		t.Add("    "+d.Process.Name, string(d.Process.Pattern), describeTrigger(d, at.Listen))
	}
	return t.PrintRows(w)
}

// printAgent prints the control plane of an enrolled atom and the deployed projects.
func printAgent(w io.Writer, started *server.Server) {
	id, status, ok := started.Agent()
	if !ok {
		return
	}
	deployed := "nothing yet"
	switch {
	case status.Retired:
		deployed = "nothing: this atom is retired; valence join enrolls it again"
	case len(status.Deployed) > 0:
		deployed = strings.Join(status.Deployed, ", ")
	}
	fmt.Fprintf(w, "  control plane %s, as %s\n", id.URL, id.Name)
	fmt.Fprintf(w, "  deployed      %s\n", deployed)
}

// describeTrigger returns the trigger of a process in one line; empty if it has none.
func describeTrigger(d *atom.DeployedProcess, base string) string {
	text := ""
	switch p := d.Process; {
	case p.Listen != nil:
		text = strings.Join(p.Listen.Methods, ",") + " " + base + p.Listen.Path
	case p.Schedule != nil:
		text = p.Schedule.Cron.String() + " " + p.Schedule.Cron.Zone().String()
	case p.Subscribe != nil:
		text = p.Subscribe.Connection + " (" + p.Subscribe.Connector.Name + ")"
	default:
		return ""
	}
	if d.Paused() {
		text += " (paused)"
	}
	return text
}
