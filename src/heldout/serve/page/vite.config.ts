import preact from "@preact/preset-vite";
import { defineConfig } from "vite";

// Everything is served by the service itself, below /page/.
export default defineConfig({
  base: "/page/",
  plugins: [preact()],
  build: { target: "es2022", outDir: "dist", emptyOutDir: true, chunkSizeWarningLimit: 4000 },
});
