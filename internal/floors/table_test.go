package floors

import "strings"

// row is one line of the table in docs/architecture.md: the floor of a package
// and what it may import beyond the standard library.
type row struct {
	floor   int
	pkg     string   // path below the module; "x/*" is every package directly below x
	project []string // packages of this module, in the same notation
	modules []string // other people's modules
}

// tooling is the floor of what builds, measures and tests the product and is
// never part of it: it may import everything, and nothing may import it.
const tooling = 99

// What rows have in common.
var (
	floor0  = []string{"internal/document", "internal/fault", "internal/convert", "internal/metrics", "internal/cron"}
	floor1  = []string{"internal/profile", "internal/authn", "internal/sqlitedb", "internal/spec", "internal/expression", "internal/strictyaml", "internal/wire", "internal/egress", "internal/answer"}
	floor2  = []string{"processes", "connectors"}
	floors1 = join(floor0, floor1)
	floors2 = join(floors1, floor2)
)

// Modules by what they are needed for.
const (
	gjson      = "github.com/tidwall/gjson"
	expr       = "github.com/expr-lang/expr"
	decimals   = "github.com/cockroachdb/apd/v3"
	yaml       = "gopkg.in/yaml.v3"
	jsonschema = "github.com/santhosh-tekuri/jsonschema/v6"
	text       = "golang.org/x/text" // messages of jsonschema
	jwt        = "github.com/golang-jwt/jwt/v5"
	jwks       = "github.com/MicahParks/keyfunc/v3"
	jwkset     = "github.com/MicahParks/jwkset"
	webhooks   = "github.com/standard-webhooks/standard-webhooks/libraries"
	sqlite     = "modernc.org/sqlite"
	sqliteLibc = "modernc.org/libc"
	cronlib    = "github.com/netresearch/go-cron"
	prometheus = "github.com/prometheus/client_golang"
	mux        = "github.com/gorilla/mux"
	rate       = "golang.org/x/time"
	breaker    = "github.com/failsafe-go/failsafe-go"
	websocket  = "github.com/coder/websocket"
	compress   = "github.com/klauspost/compress"
	sys        = "golang.org/x/sys"
	sync       = "golang.org/x/sync"
	pgx        = "github.com/jackc/pgx/v5"
	kong       = "github.com/alecthomas/kong"
	isatty     = "github.com/mattn/go-isatty"
)

// testOnly are modules that only files of tests may import, and fakes are
// packages of ours of the same kind, for tests on any floor.
var (
	testOnly = []string{"github.com/rogpeppe/go-internal", "pgregory.net/rapid", "github.com/chromedp/chromedp", "github.com/pb33f/libopenapi"}
	fakes    = []string{"atom/atomtest", "cloud/cloudtest", "internal/sqlitedb/faultdisk", "internal/generate"}
)

// table is the architecture. It is changed by a decision in docs/adr, never
// to make a build pass.
var table = []row{
	{0, "internal/document", nil, []string{gjson}},
	{0, "internal/fault", nil, nil},
	{0, "internal/convert", nil, nil},
	{0, "internal/cron", nil, []string{cronlib}},
	{0, "internal/metrics", nil, []string{prometheus}},
	{1, "internal/profile", []string{"internal/fault"}, []string{jsonschema, text}},
	{1, "internal/authn", []string{"internal/fault"}, []string{jwt, jwks, jwkset, webhooks}},
	{1, "internal/sqlitedb", nil, []string{sqlite, sqliteLibc, sys}},
	{1, "internal/spec", []string{"internal/fault"}, []string{yaml}},
	{1, "internal/strictyaml", []string{"internal/fault", "internal/spec"}, []string{yaml}},
	{1, "internal/wire", []string{"internal/fault"}, nil},
	{1, "internal/egress", nil, nil},
	{1, "internal/answer", []string{"internal/convert", "internal/document", "internal/fault"}, nil},
	{1, "internal/expression", []string{"internal/convert", "internal/document", "internal/fault", "internal/expression/exact"}, []string{expr, gjson}},
	{1, "internal/expression/exact", []string{"internal/document"}, []string{decimals}},
	{1, "internal/sqlitedb/faultdisk", nil, []string{sqlite, sqliteLibc, sys}},
	{1, "cloud/platform/codec", nil, nil},
	{2, "cloud/platform/filter", []string{"cloud/platform/codec"}, nil},
	{2, "connectors", floors1, nil},
	{2, "processes", join(floors1, []string{"connectors"}), []string{yaml}},
	{3, "connectors/*", join(floors1, []string{"connectors"}), []string{rate}},
	{3, "atom/steps", floors2, nil},
	{4, "connectors/all", []string{"connectors", "connectors/*"}, nil},
	{4, "atom", join(floors2, []string{"atom/steps"}), []string{rate, breaker}},
	{5, "atom/atomtest", join(floors2, []string{"atom"}), nil},
	{4, "internal/store/sqlite/disk", nil, nil},
	{4, "internal/store/sqlite/history", join(floor0, []string{"internal/store/sqlite/disk"}), []string{compress}},
	{5, "internal/store/sqlite", join(floor0, []string{"atom", "internal/sqlitedb", "internal/store/sqlite/*"}), []string{sqlite, sqliteLibc, sys, sync}},
	{5, "internal/listener", join(floors2, []string{"atom"}), []string{mux, rate, websocket}},
	{5, "internal/console", join(floors2, []string{"atom"}), []string{mux}},
	{5, "internal/agent", join(floors2, []string{"atom"}), nil},
	{5, "cloud", join(floors1, []string{"processes"}), []string{rate}},
	{5, "cloud/store", join(floor0, []string{"cloud", "internal/sqlitedb", "internal/wire"}), nil},
	{5, "cloud/store/postgres", join(floor0, []string{"cloud", "internal/wire"}), []string{pgx}},
	{5, "cloud/platform", []string{"cloud", "cloud/platform/*"}, nil},
	{5, "cloud/gate", join(floors1, []string{"cloud"}), nil},
	{5, "cloud/operator", join(floors1, []string{"cloud"}), []string{mux}},
	{5, "cloud/console", join(floors1, []string{"cloud"}), nil},
	{5, "cloud/cloudtest", join(floors2, []string{"cloud", "cloud/*", "cloud/store/*", "atom/steps", "connectors/all"}), []string{pgx}},
	{0, "schemas", nil, nil},
	{6, "internal/cli", []string{"*"}, []string{kong, isatty, yaml, gjson}},
	{7, "cmd/valence", []string{"internal/cli"}, nil},

	{tooling, "internal/bench", []string{"*"}, nil},
	{tooling, "internal/bench/*", []string{"*"}, nil},
	{tooling, "internal/bench/cmd/*", []string{"*"}, nil},
	{tooling, "internal/bench/baseline/*", nil, []string{mux, gjson}},
	{tooling, "internal/crash", []string{"*"}, nil},
	{tooling, "internal/firewall", []string{"*"}, []string{sys}},
	{tooling, "internal/examples", []string{"*"}, []string{webhooks}},
	{tooling, "internal/examples/systems", []string{"internal/examples"}, nil},
	{tooling, "internal/floors", nil, nil},
	{tooling, "internal/generate", []string{"*"}, nil},
	{tooling, "internal/generate/cmd/*", []string{"*"}, nil},
	{tooling, "internal/program", nil, nil},
	{tooling, "internal/summary", nil, nil},
}

// find gives the row of a package: the exact one before a pattern.
func find(pkg string) (row, bool) {
	for _, exact := range []bool{true, false} {
		for _, r := range table {
			if exact && r.pkg == pkg || !exact && covers(r.pkg, pkg) {
				return r, true
			}
		}
	}
	return row{}, false
}

// covers reports whether a pattern of the table names a package.
func covers(pattern, pkg string) bool {
	if pattern == "*" || pattern == pkg {
		return true
	}
	dir, ok := strings.CutSuffix(pattern, "/*")
	if !ok {
		return false
	}
	rest, below := strings.CutPrefix(pkg, dir+"/")
	return below && !strings.Contains(rest, "/")
}

// allows reports whether any pattern names the package.
func allows(patterns []string, pkg string) bool {
	for _, p := range patterns {
		if covers(p, pkg) {
			return true
		}
	}
	return false
}

// belongs reports whether an import path is inside any of the modules.
func belongs(modules []string, path string) bool {
	for _, m := range modules {
		if path == m || strings.HasPrefix(path, m+"/") {
			return true
		}
	}
	return false
}

func join(lists ...[]string) []string {
	var all []string
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}
