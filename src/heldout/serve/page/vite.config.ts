import preact from "@preact/preset-vite";
import { defineConfig, Plugin } from "vite";

// NiiVue computes gradients of every volume, which only a lighted 3D view needs. Without a GPU that takes seconds: they
// are computed where they are used.
function gradientsWhereUsed(): Plugin {
  const computed = "this.gradientTexture = gradientGL(";
  let found = false;
  return {
    name: "gradients-where-used",
    transform(code, id) {
      if (!id.includes("@niivue/niivue") || !code.includes(computed)) return;
      found = true;
      return { code: code.replaceAll(computed, `if (this.gradientTextureAmount > 0) ${computed}`), map: null };
    },
    buildEnd(error) {
      if (!error && !found) this.error("NiiVue computes its gradients elsewhere than vite.config.ts looks for");
    },
  };
}

// Everything is served by the service itself, below /page/.
export default defineConfig({
  base: "/page/",
  plugins: [preact(), gradientsWhereUsed()],
  build: { target: "es2022", outDir: "dist", emptyOutDir: true, chunkSizeWarningLimit: 4000 },
});
