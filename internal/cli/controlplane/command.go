// Package controlplane has the command that starts a control plane, and
// assembles the control plane from its parts.
package controlplane

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"valence/atom/server"
	"valence/cloud"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
	"valence/internal/version"
)

// Command starts a control plane.
type Command struct {
	Listen        string        `default:"127.0.0.1:9092" env:"VALENCE_CLOUD_LISTEN" help:"Address of the control plane: atoms, APIs, console and metrics."`
	Data          string        `default:"cloud-data" env:"VALENCE_CLOUD_DATA" help:"Data folder: everything the control plane stores."`
	AcceptLoss    bool          `name:"accept-loss" help:"Start although the data folder lacks some of what it held. What is lost is logged and recorded in losses.jsonl."`
	Store         string        `env:"VALENCE_CLOUD_STORE" placeholder:"URL" help:"PostgreSQL database shared by several control planes, such as postgres://user@host/database; the password in PGPASSWORD, or in the file that PGPASSWORD_FILE or PGPASSFILE names. Default: the data folder."`
	SecretsKey    string        `name:"secrets-key" env:"VALENCE_CLOUD_SECRETS_KEY" placeholder:"FILE" help:"File with the key of the secrets, the same for all control planes of a database. Default: secrets.key in the data folder."`
	TLSCert       string        `name:"tls-cert" env:"VALENCE_CLOUD_TLS_CERT" placeholder:"FILE" help:"Certificate chain (PEM); reloaded when the file changes."`
	TLSKey        string        `name:"tls-key" env:"VALENCE_CLOUD_TLS_KEY" placeholder:"FILE" help:"Private key for --tls-cert."`
	BeyondWithout bool          `name:"beyond-loopback-without-tls" help:"Accept connections of other machines without TLS, for example behind a proxy that terminates TLS. Anyone who can read that network can read API tokens, install tokens and documents."`
	Retention     time.Duration `default:"720h" env:"VALENCE_CLOUD_RETENTION" help:"How long execution records, execution requests and the audit log are stored."`
	Rate          float64       `default:"100" env:"VALENCE_CLOUD_RATE" help:"API calls per second and account; bursts may have twice as many."`
	quotaFlags
	terminal.LogFlags
}

// quotaFlags are the limits of each account; 0 is unlimited.
type quotaFlags struct {
	MaxPackages      int   `default:"5000" env:"VALENCE_CLOUD_MAX_PACKAGES" help:"Packages of one account. 0: unlimited."`
	MaxPackageBytes  int64 `type:"size" default:"10GiB" env:"VALENCE_CLOUD_MAX_PACKAGE_BYTES" help:"Bytes of all packages of one account. 0: unlimited."`
	MaxPackageValues int   `default:"1000000" env:"VALENCE_CLOUD_MAX_PACKAGE_VALUES" help:"Keys, items and lines in the files of one package. 0: unlimited."`
	MaxAtoms         int   `default:"10000" env:"VALENCE_CLOUD_MAX_ATOMS" help:"Atoms of one account that are not retired. 0: unlimited."`
	MaxWaiting       int   `name:"max-waiting-requests" default:"100000" env:"VALENCE_CLOUD_MAX_WAITING_REQUESTS" help:"Execution requests and commands of one account that its atoms have not received. 0: unlimited."`
}

func (q *quotaFlags) quotas() *cloud.Quotas {
	return &cloud.Quotas{Packages: q.MaxPackages, PackageBytes: q.MaxPackageBytes, PackageValues: q.MaxPackageValues, Atoms: q.MaxAtoms, Waiting: q.MaxWaiting}
}

func (q *quotaFlags) check() error {
	for flag, n := range map[string]int64{
		"--max-packages": int64(q.MaxPackages), "--max-package-bytes": q.MaxPackageBytes, "--max-package-values": int64(q.MaxPackageValues),
		"--max-atoms": int64(q.MaxAtoms), "--max-waiting-requests": int64(q.MaxWaiting),
	} {
		if n < 0 {
			return clierror.Usage(flag+" 0, for no limit", "%s must be 0 or more", flag)
		}
	}
	return nil
}

// Help returns the text below the command's summary.
func (*Command) Help() string {
	return `The first start creates the account default and an API token with the role admin,
in the file admin.token of the data folder. Secrets are encrypted with the key in
the file secrets.key; without it, they cannot be read.

With --store, several control planes behind a load balancer share one PostgreSQL
database. Each has its own data folder with its token and the key. The key must be
the same for all: copy secrets.key of the first one, or name it with --secrets-key.

Examples:

    valence cloud
    valence cloud --listen 0.0.0.0:443 --tls-cert cert.pem --tls-key key.pem --data /var/lib/valence-cloud
    valence cloud --store 'postgres://valence@db.example/valence?sslmode=verify-full' --data /var/lib/valence-cloud
`
}

// Run runs a control plane until it is stopped.
func (c *Command) Run(s *terminal.Streams) error {
	begin := time.Now()
	server.TuneGC()
	if err := c.check(); err != nil {
		return err
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	log := c.Logger(s.Err)
	p, err := open(c, log)
	if err != nil {
		return err
	}
	if err := p.start(context.Background()); err != nil {
		return p.stopAfter(err)
	}
	if c.LogFormat == "json" {
		log.Info("ready", "listen", p.address.URL, "after", time.Since(begin).String())
	} else {
		p.printBanner(s.Out, time.Since(begin))
	}
	return p.stopAfter(p.wait(signals))
}

// check returns an error for flags that are invalid or do not fit together.
func (c *Command) check() error {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return clierror.Usage("--tls-cert FILE --tls-key FILE", "--tls-cert and --tls-key must be used together")
	}
	if c.Retention < time.Hour {
		return clierror.Usage("--retention 720h", "--retention must be at least 1h")
	}
	if c.Rate <= 0 {
		return clierror.Usage("--rate 100", "--rate must be positive")
	}
	if err := c.LogFlags.Check(); err != nil {
		return err
	}
	return c.quotaFlags.check()
}

// wait blocks until a signal to stop, or until a part fails. A second signal
// ends the program at once.
func (p *plane) wait(signals <-chan os.Signal) error {
	select {
	case err := <-p.parts.Failed():
		return clierror.Failed("read the log; stored data is available at the next start", "%v", err)
	case sig := <-signals:
		p.log.Info("stopping", "signal", sig.String())
		go func() {
			<-signals
			os.Exit(clierror.ExitFailed)
		}()
		return nil
	}
}

// printBanner prints the address of the started control plane and, at the first
// start, the next commands.
func (p *plane) printBanner(w io.Writer, took time.Duration) {
	token := ""
	if _, err := os.Stat(filepath.Join(p.o.Data, TokenFile)); err == nil {
		token = ", with an admin's token in " + TokenFile
	}
	fmt.Fprintf(w, "valence %s control plane is ready after %s\n", version.String(), terminal.Duration(took))
	fmt.Fprintf(w, "  address      %s, with the console at /\n", p.address.URL)
	fmt.Fprintf(w, "  data folder  %s%s\n", p.o.Data, token)
	if p.database != "" {
		fmt.Fprintf(w, "  database     %s\n", p.database)
	}
	if p.first {
		fmt.Fprint(w, p.nextSteps())
	}
}

// nextSteps returns the commands to use a new control plane.
func (p *plane) nextSteps() string {
	data := ""
	if p.o.Data != "cloud-data" {
		data = " --data " + p.o.Data
	}
	return `
next, in another terminal:
  valence cloud environments make test` + data + `
  valence cloud install-token --environment test` + data + `
  valence join ` + p.address.URL + ` --token vi_…            on the atom's machine, then valence run
  valence deploy DIR --to ` + p.address.URL + ` --token-file ` + filepath.Join(p.o.Data, TokenFile) + ` --environment test --version 1.0.0
`
}
