package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"valence/atom"
	"valence/internal/agent"
	"valence/processes"
)

type runCmd struct {
	Paths []string `arg:"" optional:"" files:"" help:"Folders and files of the project; the current folder by default."`
	placeFlags
	serveFlags
	logFlags
	Watch bool `help:"Reload when the project's files change; a version with errors is told about and not taken."`
}

// placeFlags say where an atom keeps its data and finds its values.
type placeFlags struct {
	Data            string `default:"data" env:"VALENCE_DATA" help:"Folder for everything that is stored."`
	Environment     string `env:"VALENCE_ENVIRONMENT" placeholder:"NAME" help:"The environment: component to take values and secrets from; without it they come from the machine's variables."`
	HistoryMaxBytes int64  `type:"size" env:"VALENCE_HISTORY_MAX_BYTES" placeholder:"SIZE" help:"Most that finished executions may take, such as 20GiB; the oldest day goes first. Without it there is no bound but their retention."`
}

// serveFlags say where an atom listens.
type serveFlags struct {
	Listen              string        `default:"127.0.0.1:9090" env:"VALENCE_LISTEN" help:"Address of the web services."`
	PublicURL           string        `name:"public-url" env:"VALENCE_PUBLIC_URL" placeholder:"URL" help:"Where others reach the web services, such as https://valence.example: what callback() begins with. The address that is listened to by default; never what a request says in Host."`
	TLSCert             string        `name:"tls-cert" env:"VALENCE_TLS_CERT" placeholder:"FILE" help:"Certificate chain (PEM) of the web services; read again when it changes."`
	TLSKey              string        `name:"tls-key" env:"VALENCE_TLS_KEY" placeholder:"FILE" help:"Its private key."`
	Admin               string        `default:"127.0.0.1:9091" env:"VALENCE_ADMIN" help:"Address of the admin API and the metrics."`
	AdminTLSCert        string        `name:"admin-tls-cert" env:"VALENCE_ADMIN_TLS_CERT" placeholder:"FILE" help:"Certificate chain (PEM) of the admin API; read again when it changes."`
	AdminTLSKey         string        `name:"admin-tls-key" env:"VALENCE_ADMIN_TLS_KEY" placeholder:"FILE" help:"Its private key."`
	AdminBeyondLoopback bool          `name:"admin-beyond-loopback-without-tls" help:"Let the admin API be reached from other machines without TLS: whoever can read the network can read its token."`
	MaxConnections      int           `default:"10000" env:"VALENCE_MAX_CONNECTIONS" help:"Most connections that the web services have open at once; those beyond it wait. 0: no bound."`
	Grace               time.Duration `default:"20s" env:"VALENCE_GRACE" help:"After SIGTERM: how long requests, and then executions, may take to finish."`
	ShutdownDelay       time.Duration `default:"0s" env:"VALENCE_SHUTDOWN_DELAY" help:"After SIGTERM: how long /readyz fails before connections are refused, for load balancers to notice."`
}

// logFlags say what is logged, on standard error.
type logFlags struct {
	LogFormat string `enum:"text,json" default:"text" env:"VALENCE_LOG_FORMAT" help:"text or json."`
	LogLevel  string `enum:"debug,info,warn,error" default:"info" env:"VALENCE_LOG_LEVEL" help:"debug, info, warn or error."`
	AccessLog int    `name:"access-log" default:"0" env:"VALENCE_ACCESS_LOG" help:"Log every N-th request, and all that fail; 0 logs none."`
}

// Help is shown below the command's summary.
func (*runCmd) Help() string {
	return `Everything is stored in the data folder; one atom runs per folder. SIGTERM or
Ctrl-C stop it: what runs may finish within the grace, the rest goes on at the
next start. A second signal ends it at once, which loses nothing either.
SIGHUP reloads the project.

Examples:

    valence run
    valence run orders/ --environment prod --data /var/lib/valence
    valence run --listen 0.0.0.0:8443 --tls-cert cert.pem --tls-key key.pem
    valence run --data /var/lib/valence

The last needs no project where the folder has joined a control plane (valence
join): then what is deployed from there runs. A project that is named runs
beside it; no process may be of both, and no listener's path.
`
}

// logger makes the program's log.
func (f *logFlags) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.LogLevel)); err != nil {
		level = slog.LevelInfo // the flag's enum lets nothing else in
	}
	o := &slog.HandlerOptions{Level: level}
	if f.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// What lives in an atom is small, and what a message leaves behind is much:
// collecting less often than Go's 100 costs some MiB and saves processor time.
const gcPercent = 300

// manyProcesses is from where it is worth giving memory back after loading.
const manyProcesses = 200

// Run runs an atom until it is told to stop.
func (c *runCmd) Run(s *streams) error {
	begin := time.Now()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	project, err := c.project(s)
	if err != nil {
		return err
	}
	if c.Listen == "" || c.Admin == "" {
		return usage("--listen 127.0.0.1:9090", "--listen and --admin must not be empty")
	}
	if err := c.check(); err != nil {
		return err
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)

	log := c.logger(s.err)
	for {
		err := c.once(s, log, project, signals, begin)
		if !errors.Is(err, agent.ErrRestart) {
			return err
		}
		log.Info("restarting")
		begin = time.Now()
	}
}

// project reads the project that was named. An atom that has joined a control
// plane needs none.
func (c *runCmd) project(s *streams) (*loaded, error) {
	if len(c.Paths) == 0 {
		if _, err := agent.Load(c.Data); err == nil {
			return nil, nil
		}
	}
	return loadRight(c.Paths, s.err)
}

// once runs an atom from its start to its stop.
func (c *runCmd) once(s *streams, log *slog.Logger, project *loaded, signals <-chan os.Signal, begin time.Time) error {
	st, err := open(&stationOptions{places: c.placeFlags, serve: c.serveFlags, accessEvery: c.AccessLog, log: log})
	if err != nil {
		return err
	}
	if err := st.enrol(project); err != nil {
		return finish(st, err)
	}
	if err := st.start(project); err != nil {
		return finish(st, err)
	}
	if len(st.atom.Deployed()) > manyProcesses {
		debug.FreeOSMemory() // what reading them took, and running them does not
	}
	if c.LogFormat == "json" {
		log.Info("ready", "listen", st.address.Listen, "admin", st.address.Admin, "processes", len(st.atom.Deployed()), "after", time.Since(begin).String())
	} else {
		c.banner(s.out, st, project, time.Since(begin))
	}
	return finish(st, c.serve(st, project, signals))
}

// finish stops the station and gives the first thing that went wrong.
func finish(st *station, err error) error {
	if stopErr := st.stop(); err == nil && stopErr != nil {
		return failed("the log", "%v", stopErr)
	}
	return err
}

// check finds flags that do not go together.
func (c *runCmd) check() error {
	for _, pair := range [][3]string{{c.TLSCert, c.TLSKey, "tls"}, {c.AdminTLSCert, c.AdminTLSKey, "admin-tls"}} {
		if (pair[0] == "") != (pair[1] == "") {
			return usage("--"+pair[2]+"-cert FILE --"+pair[2]+"-key FILE", "--%s-cert and --%s-key go together", pair[2], pair[2])
		}
	}
	if c.Grace <= 0 || c.ShutdownDelay < 0 {
		return usage("--grace 20s", "--grace must be more than nothing, and --shutdown-delay not less")
	}
	if u, err := url.Parse(c.PublicURL); c.PublicURL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "") {
		return usage("--public-url https://valence.example", "--public-url %s is no address of web services", c.PublicURL)
	}
	if c.MaxConnections < 0 {
		return usage("--max-connections 10000", "--max-connections takes 0 or more")
	}
	if c.AccessLog < 0 {
		return usage("--access-log 1", "--access-log takes 0 or more")
	}
	return nil
}

// serve waits for what may happen to an atom: signals, changed files, a part
// that fails.
func (c *runCmd) serve(st *station, project *loaded, signals <-chan os.Signal) error {
	paths := c.Paths
	if len(paths) == 0 {
		paths = []string{"."}
	}
	changes := make(chan []processes.File)
	ctx, cancel := context.WithCancel(context.Background())
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		if !c.Watch || project == nil {
			return
		}
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		watch(ctx, tick.C, func() ([]processes.File, error) { return processes.ReadDir(paths...) }, project.files, func(files []processes.File) {
			select {
			case changes <- files:
			case <-ctx.Done():
			}
		})
	}()
	defer func() { cancel(); <-watching }()
	for {
		select {
		case files := <-changes:
			st.reload(ctx, files)
		case err := <-st.parts.failed:
			if errors.Is(err, agent.ErrRestart) {
				return err
			}
			return failed("the log; what was accepted goes on at the next start", "%v", err)
		case sig := <-signals:
			if sig == syscall.SIGHUP {
				if project == nil { // there is nothing on this machine to reload
					continue
				}
				files, err := processes.ReadDir(paths...)
				if err != nil {
					st.log.Error("the project cannot be read; the version before goes on", "error", err)
					continue
				}
				st.reload(ctx, files)
				continue
			}
			st.log.Info("stopping", "signal", sig.String(), "grace", c.Grace.String())
			go func() {
				for again := range signals {
					if again != syscall.SIGHUP {
						os.Exit(exitFailed)
					}
				}
			}()
			return nil
		}
	}
}

// banner tells a person what has started.
func (c *runCmd) banner(w io.Writer, st *station, project *loaded, took time.Duration) {
	deployed := st.atom.Deployed()
	fmt.Fprintf(w, "valence %s is ready after %s\n", version, span(took))
	fmt.Fprintf(w, "  web services  %s\n", st.address.Listen)
	fmt.Fprintf(w, "  admin API     %s, with the token in %s\n", st.address.Admin, st.tokenFile)
	fmt.Fprintf(w, "  data folder   %s\n", c.Data)
	st.agentBanner(w)
	from := ""
	if project != nil {
		from = ", from " + plural(len(project.files), "file", "files")
	}
	fmt.Fprintf(w, "  processes     %d%s\n", len(deployed), from)
	t := &table{head: []string{"", "", ""}}
	for i, d := range deployed {
		if i == 20 {
			t.add("    and "+fmt.Sprint(len(deployed)-i)+" more", "", "")
			break
		}
		t.add("    "+d.Process.Name, string(d.Process.Pattern), listens(d, st.address.Listen))
	}
	if err := t.body(w); err != nil {
		st.log.Debug("the banner could not be printed", "error", err)
	}
}

func listens(d *atom.Deployed, base string) string {
	text := ""
	switch p := d.Process; {
	case p.Listen != nil:
		text = strings.Join(p.Listen.Methods, ",") + " " + base + p.Listen.Path
	case p.Schedule != nil:
		text = p.Schedule.Cron.String() + " " + p.Schedule.Cron.Place().String()
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
