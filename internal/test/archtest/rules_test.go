package archtest

// rule says which packages of this module a group of packages may import. A
// package belongs to the rule with the longest matching prefix.
type rule struct {
	prefix  string   // "a/b" is the package and everything below it
	imports []string // prefixes; the group's own packages are always allowed
}

// rules is the architecture, lowest group first. Change it by a decision in
// docs/adr, not to make a build pass. TestDocumented keeps docs/architecture.md
// in step with it.
var rules = []rule{
	{"internal", nil},
	{"schemas", nil},
	{"connectors", []string{"internal"}},
	{"processes", []string{"internal", "connectors"}},
	{"atom/steps", []string{"internal", "connectors", "processes"}},
	{"cloud", []string{"internal", "processes"}},
	{"atom/store", nil},
	{"atom/activity", nil},
	{"atom/connection", []string{"internal", "connectors", "processes"}},
	{"atom/queue", []string{"atom/store"}},
	{"atom/trigger", []string{"internal", "connectors", "processes", "atom/store"}},
	{"atom/run", []string{"internal", "connectors", "processes", "atom/steps", "atom/store", "atom/activity", "atom/connection", "atom/queue"}},
	{"atom", []string{"internal", "connectors", "processes", "atom/steps", "atom/store", "atom/activity", "atom/connection", "atom/queue", "atom/trigger", "atom/run"}},
	{"atom/store/sqlite", []string{"internal", "atom/store"}},
	{"atom/store/postgres", []string{"internal", "atom/store"}},
	{"atom/sandbox", []string{"internal", "connectors", "processes", "atom/steps", "atom/store", "atom/connection", "atom/run", "atom/store/sqlite"}},
	{"atom/replay", []string{"internal", "connectors", "processes", "atom", "atom/store", "atom/sandbox"}},
	{"atom/dataplane", []string{"internal", "connectors", "processes", "atom", "atom/steps", "atom/store"}},
	{"atom/admin", []string{"internal", "connectors", "processes", "atom", "atom/steps", "atom/store"}},
	{"atom/agent", []string{"internal", "connectors", "processes", "atom", "atom/steps", "atom/store", "atom/replay"}},
	{"atom/server", []string{"internal", "connectors", "processes", "atom", "atom/steps", "atom/store", "atom/store/sqlite", "atom/store/postgres", "atom/dataplane", "atom/admin", "atom/agent"}},
	{"internal/lsp", []string{"internal", "connectors", "processes"}},
	{"internal/cli/terminal", []string{"internal"}},
	{"internal/cli/client", []string{"internal", "atom/admin", "atom/agent", "cloud", "internal/cli/terminal"}},
	{"internal/cli", []string{"internal", "schemas", "connectors", "processes", "atom", "cloud"}},
	{"cmd", []string{"internal/cli"}},
}

// tooling builds, measures and tests the product. It may import everything,
// and no package of the product may import it.
var tooling = []string{"internal/test", "internal/generate"}

// shared are the folders below connectors that help connectors and declare none.
var shared = []string{"connectors/connectortest", "connectors/content", "connectors/folder", "connectors/httpclient", "connectors/session", "connectors/tlsconfig"}

// fakes stand in for real parts in tests. Only tests and tooling import them.
var fakes = []string{"atom/store/storetest", "connectors/connectortest", "cloud/cloudtest", "internal/sqlitedb/faultdisk"}

// modules lists every third-party module with the packages that may import it.
// A driver or a protocol library belongs to one package.
var modules = map[string][]string{
	"github.com/Azure/go-amqp":                                 {"connectors/amqp1"},
	"github.com/MicahParks/jwkset":                             {"internal/authn"},
	"github.com/MicahParks/keyfunc/v3":                         {"internal/authn"},
	"github.com/alecthomas/kong":                               {"internal/cli"},
	"github.com/cockroachdb/apd/v3":                            {"internal/expression/exact"},
	"github.com/coder/websocket":                               {"atom/dataplane"},
	"github.com/eclipse/paho.golang":                           {"connectors/mqtt"},
	"github.com/eclipse/paho.mqtt.golang":                      {"connectors/mqtt"},
	"github.com/expr-lang/expr":                                {"internal/expression"},
	"github.com/failsafe-go/failsafe-go":                       {"atom/connection"},
	"github.com/golang-jwt/jwt/v5":                             {"internal/authn"},
	"github.com/gorilla/mux":                                   {"atom/dataplane", "atom/admin", "cloud/operator"},
	"github.com/go-sql-driver/mysql":                           {"connectors/sql"},
	"github.com/microsoft/go-mssqldb":                          {"connectors/sql"},
	"github.com/sijms/go-ora/v2":                               {"connectors/sql"},
	"github.com/jackc/pgx/v5":                                  {"internal/pgdb", "connectors/sql"},
	"github.com/jlaffaye/ftp":                                  {"connectors/ftp"},
	"github.com/klauspost/compress":                            {"atom/store/sqlite/history"},
	"github.com/mattn/go-isatty":                               {"internal/cli"},
	"github.com/emersion/go-imap/v2":                           {"connectors/imap"},
	"github.com/emersion/go-message":                           {"connectors/imap"},
	"github.com/twmb/franz-go":                                 {"connectors/kafka"},
	"github.com/twmb/franz-go/pkg/kmsg":                        {"connectors/kafka"},
	"github.com/wneessen/go-mail":                              {"connectors/smtp"},
	"github.com/minio/minio-go/v7":                             {"connectors/s3"},
	"github.com/nats-io/nats.go":                               {"connectors/nats"},
	"github.com/nats-io/nkeys":                                 {"connectors/nats"},
	"github.com/netresearch/go-cron":                           {"internal/cron"},
	"github.com/pkg/sftp":                                      {"connectors/sftp"},
	"github.com/prometheus/client_golang":                      {"internal/metrics"},
	"github.com/rabbitmq/amqp091-go":                           {"connectors/amqp"},
	"github.com/santhosh-tekuri/jsonschema/v6":                 {"internal/profile"},
	"github.com/sourcegraph/jsonrpc2":                          {"internal/lsp"},
	"github.com/standard-webhooks/standard-webhooks/libraries": {"internal/authn"},
	"github.com/tidwall/gjson":                                 {"internal/document", "internal/expression", "internal/cli"},
	"golang.org/x/crypto":                                      {"connectors/sftp"},
	"golang.org/x/sync":                                        {"atom/store/sqlite"},
	"golang.org/x/sys":                                         {"internal/sqlitedb", "atom/store/sqlite"},
	"golang.org/x/text":                                        {"internal/profile", "internal/convert"},
	"golang.org/x/time":                                        {"atom", "connectors", "cloud"},
	"gopkg.in/yaml.v3":                                         {"internal/lsp", "internal/spec", "internal/strictyaml", "processes/loader", "internal/cli"},
	"modernc.org/libc":                                         {"internal/sqlitedb", "atom/store/sqlite"},
	"modernc.org/sqlite":                                       {"internal/sqlitedb", "atom/store/sqlite", "connectors/sql"},
}

// testModules are third-party modules that only tests may import.
var testModules = []string{
	"github.com/beevik/etree",
	"github.com/chromedp/chromedp",
	"github.com/nats-io/jwt/v2",
	"github.com/nats-io/nats-server/v2",
	"github.com/pb33f/libopenapi",
	"github.com/rogpeppe/go-internal",
	"github.com/twmb/franz-go/pkg/kadm",
	"github.com/twmb/franz-go/pkg/kfake",
	"pgregory.net/rapid",
}
