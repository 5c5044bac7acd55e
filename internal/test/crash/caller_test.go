package crash

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
)

// caller calls the platform API of a control plane as its administrator.
type caller struct {
	t          *testing.T
	client     *http.Client
	url, token string
	wait       bool // for records of executions
}

// ask sends one request.
func (c *caller) ask(method, path, contentType string, body []byte, out any) error {
	req, err := http.NewRequest(method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.SetBasicAuth("BOOMI_TOKEN.admin", c.token)
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Accept", "application/json")
	if c.wait {
		req.Header.Set("Prefer", "wait=30")
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode, text)
	}
	if out == nil || len(text) == 0 {
		return nil
	}
	return json.Unmarshal(text, out)
}

func (c *caller) must(method, path, contentType string, body []byte, out any) {
	c.t.Helper()
	if err := c.ask(method, path, contentType, body, out); err != nil {
		c.t.Fatal(err)
	}
}
