package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"
)

type cloudCmd struct {
	Run          cloudRunCmd          `cmd:"" default:"withargs" help:"Start the control plane (the default)."`
	Token        cloudTokenCmd        `cmd:"" help:"Make, list and end API tokens."`
	Install      cloudInstallCmd      `cmd:"" name:"install-token" help:"Make a token that lets one atom enrol, once."`
	Atoms        cloudAtomsCmd        `cmd:"" help:"List the atoms that have enrolled."`
	Log          cloudLogCmd          `cmd:"" help:"Show the last lines of an atom's log, as it answers now."`
	Attach       cloudAttachCmd       `cmd:"" help:"Put an atom into an environment."`
	Detach       cloudDetachCmd       `cmd:"" help:"Take an atom out of its environment."`
	Purge        cloudPurgeCmd        `cmd:"" help:"Say for how many days at most an atom keeps what has ended."`
	Retire       cloudRetireCmd       `cmd:"" help:"Take an atom out of service in good order: it finishes what it has, and asks no more."`
	Revoke       cloudRevokeCmd       `cmd:"" help:"End an atom's enrolment: none of its requests is answered any more."`
	Schedules    cloudSchedulesCmd    `cmd:"" help:"List schedules, and switch them off and on."`
	Environments cloudEnvironmentsCmd `cmd:"" help:"List, make, change and delete environments."`
	Secret       cloudSecretCmd       `cmd:"" help:"Set a secret of an environment; nothing ever shows it again."`
	Value        cloudValueCmd        `cmd:"" help:"Set a value of an environment."`
	Fields       cloudFieldsCmd       `cmd:"" help:"List the values and secrets of an environment, also those that are missing."`
	Deployments  cloudDeploymentsCmd  `cmd:"" help:"List what is deployed, and what became of it."`
	Executions   cloudExecutionsCmd   `cmd:"" help:"List execution records of all atoms, show one, cancel one."`
	Execute      cloudExecuteCmd      `cmd:"" help:"Ask an atom to run a process."`
	Listeners    cloudListenersCmd    `cmd:"" help:"List, pause, resume and restart the triggers of an atom."`
	Undeploy     cloudUndeployCmd     `cmd:"" help:"Take a project out of an environment."`
	Account      cloudAccountCmd      `cmd:"" help:"Make an account, with a token for its first admin."`
	Audit        cloudAuditCmd        `cmd:"" help:"Show who did what, when and from where."`
	Backup       cloudBackupCmd       `cmd:"" help:"Copy the data of the running control plane."`
}

// Help is shown below the command's summary.
func (*cloudCmd) Help() string {
	return `Without a command below it starts the control plane, as valence cloud run does.
The others talk to a running one over its API, with the address and the token
that are in its data folder; --url and --token-file name others.

Examples:

    valence cloud --listen 127.0.0.1:9092 --data cloud-data
    valence cloud token --role deployer --name ci --data cloud-data
    valence cloud install-token --environment prod --data cloud-data
`
}

type cloudRunCmd struct {
	Listen        string        `default:"127.0.0.1:9092" env:"VALENCE_CLOUD_LISTEN" help:"Address of everything: the atoms', the APIs, the metrics."`
	Data          string        `default:"cloud-data" env:"VALENCE_CLOUD_DATA" help:"Folder for everything that is stored."`
	Store         string        `env:"VALENCE_CLOUD_STORE" placeholder:"URL" help:"PostgreSQL database that several control planes share, as postgres://user@host/database; the password in PGPASSWORD or PGPASSFILE. Without it everything is in the data folder."`
	SecretsKey    string        `name:"secrets-key" env:"VALENCE_CLOUD_SECRETS_KEY" placeholder:"FILE" help:"File with the key of the secrets, the same for all control planes of a database; by default secrets.key in the data folder."`
	TLSCert       string        `name:"tls-cert" env:"VALENCE_CLOUD_TLS_CERT" placeholder:"FILE" help:"Certificate chain (PEM); read again when it changes."`
	TLSKey        string        `name:"tls-key" env:"VALENCE_CLOUD_TLS_KEY" placeholder:"FILE" help:"Its private key."`
	BeyondWithout bool          `name:"beyond-loopback-without-tls" help:"Let other machines reach it without TLS, as behind a proxy that ends TLS: whoever can read that network can read API tokens, install tokens and documents."`
	Retention     time.Duration `default:"720h" env:"VALENCE_CLOUD_RETENTION" help:"How long execution records, requests and the audit log are kept."`
	Rate          float64       `default:"100" env:"VALENCE_CLOUD_RATE" help:"API calls of one account per second; twice as many at once."`
	logFlags
}

// Help is shown below the command's summary.
func (*cloudRunCmd) Help() string {
	return `The first start makes the account default and an API token of the role admin in
the file admin.token of the data folder. Secrets are kept under secrets.key, a
file beside the database: without it they cannot be read.

With --store several control planes share one PostgreSQL database, behind a load
balancer. Each has a data folder of its own, for its token and the key; the key
must be the same for all: copy secrets.key from the first, or name it with
--secrets-key.

Examples:

    valence cloud
    valence cloud --listen 0.0.0.0:443 --tls-cert cert.pem --tls-key key.pem --data /var/lib/valence-cloud
    valence cloud --store 'postgres://valence@db.example/valence?sslmode=verify-full' --data /var/lib/valence-cloud
`
}

// Run runs a control plane until it is told to stop.
func (c *cloudRunCmd) Run(s *streams) error {
	begin := time.Now()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return usage("--tls-cert FILE --tls-key FILE", "--tls-cert and --tls-key go together")
	}
	if c.Retention < time.Hour {
		return usage("--retention 720h", "--retention must be an hour or more")
	}
	if c.Rate <= 0 {
		return usage("--rate 100", "--rate must be more than nothing")
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	log := c.logger(s.err)
	p, err := openPlane(c, log)
	if err != nil {
		return err
	}
	if err := p.start(context.Background()); err != nil {
		return p.finish(err)
	}
	if c.LogFormat == "json" {
		log.Info("ready", "listen", p.address.URL, "after", time.Since(begin).String())
	} else {
		fmt.Fprintf(s.out, "valence %s control plane is ready after %s\n", version, span(time.Since(begin)))
		fmt.Fprintf(s.out, "  address      %s, with the console at /\n", p.address.URL)
		fmt.Fprintf(s.out, "  data folder  %s%s\n", c.Data, p.tokenThere())
		if p.database != "" {
			fmt.Fprintf(s.out, "  database     %s\n", p.database)
		}
		if p.first {
			fmt.Fprint(s.out, p.next())
		}
	}
	return p.finish(p.serve(signals, log))
}

// tokenThere tells of the admin's token in the data folder, if there is one.
func (p *plane) tokenThere() string {
	if _, err := os.Stat(filepath.Join(p.o.Data, cloudTokenFile)); err != nil {
		return ""
	}
	return ", with an admin's token in " + cloudTokenFile
}

// next tells what to do with a control plane that has nothing yet.
func (p *plane) next() string {
	data := ""
	if p.o.Data != "cloud-data" {
		data = " --data " + p.o.Data
	}
	return `
next, in another terminal:
  valence cloud environments make test` + data + `
  valence cloud install-token --environment test` + data + `
  valence join ` + p.address.URL + ` --token vi_…            on the atom's machine, then valence run
  valence deploy DIR --to ` + p.address.URL + ` --token-file ` + filepath.Join(p.o.Data, cloudTokenFile) + ` --environment test --version 1.0.0
`
}

// serve waits until it is told to stop, or a part fails.
func (p *plane) serve(signals <-chan os.Signal, log *slog.Logger) error {
	select {
	case err := <-p.parts.failed:
		return failed("the log; what was stored is there at the next start", "%v", err)
	case sig := <-signals:
		log.Info("stopping", "signal", sig.String())
		go func() {
			<-signals
			os.Exit(exitFailed)
		}()
		return nil
	}
}
