package examples

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"valence/internal/test/servers"
)

// New returns the HTTP request to the atom at base, signed if required.
func (r *Request) New(ctx context.Context, e *Example, base string, now time.Time) (*http.Request, error) {
	body, _, err := r.Bytes(e.Dir)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, base+r.Path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	fill := filler(e.addresses)
	for k, v := range r.Headers {
		req.Header.Set(k, fill.Replace(v))
	}
	if r.Sign == "" {
		return req, nil
	}
	if r.SignedAgo != "" {
		ago, err := time.ParseDuration(r.SignedAgo)
		if err != nil {
			return nil, err
		}
		now = now.Add(-ago)
	}
	hook, err := webhooks.NewWebhook(e.Environment[r.Sign])
	if err != nil {
		return nil, fmt.Errorf("the secret %s: %w", r.Sign, err)
	}
	id := req.Header.Get("Webhook-Id")
	if id == "" {
		id = "msg_" + strings.ToLower(req.Header.Get("X-Event-Id"))
	}
	signature, err := hook.Sign(id, now, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Webhook-Id", id)
	req.Header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	req.Header.Set("Webhook-Signature", signature)
	return req, nil
}

// ShellCommand returns the shell command that sends the request, for the folder
// of the example.
func (r *Request) ShellCommand(ctx context.Context, e *Example, base string) (string, error) {
	body, _, err := r.Bytes(e.Dir)
	if err != nil {
		return "", err
	}
	switch {
	case r.Drop != "":
		return fmt.Sprintf("printf '%%s' '%s' > %s/%s", body, Folder(e.Dir), r.Drop), nil
	case r.Mail != "":
		user := servers.MailUser + ":" + servers.MailPassword
		return fmt.Sprintf("curl -sS -T %s -u %s imap://127.0.0.1:%s/INBOX", r.File, user, e.addresses[r.Mail]), nil
	case r.Execute != "":
		var of struct {
			Props map[string]string `json:"props"`
		}
		if err := json.Unmarshal(body, &of); err != nil {
			return "", err
		}
		command := "../../bin/valence exec " + r.Execute
		for _, name := range slices.Sorted(maps.Keys(of.Props)) {
			command += " --prop '" + name + "=" + of.Props[name] + "'"
		}
		return command, nil
	}
	req, err := r.New(ctx, e, base, time.Now())
	if err != nil {
		return "", err
	}
	return Curl(req, r.Content), nil
}

// Folder returns the folder of an example that is tried by hand.
func Folder(dir string) string { return "/tmp/valence-" + filepath.Base(dir) }

// Curl returns the request as a curl command for the folder of the example.
func Curl(r *http.Request, content Content) string {
	var b strings.Builder
	fmt.Fprintf(&b, "curl -i -X %s '%s'", r.Method, r.URL)
	for _, k := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(&b, " \\\n  -H '%s: %s'", k, r.Header.Get(k))
	}
	switch {
	case content.File != "":
		fmt.Fprintf(&b, " \\\n  --data-binary @%s", content.File)
	case content.Text != nil:
		fmt.Fprintf(&b, " \\\n  --data-binary '%s'", *content.Text)
	case content.JSON != nil:
		fmt.Fprintf(&b, " \\\n  --data-binary '%s'", content.JSON)
	}
	return b.String()
}
